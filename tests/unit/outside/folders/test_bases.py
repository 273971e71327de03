"""The base of the sessions' folders: nobody else can read, swap, or withhold it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from sevenlbd.base.errors import Refusal
from sevenlbd.outside.folders import bases, session_folders

USUAL = f"7lbd-{os.getuid()}"


def test_a_folder_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with pytest.raises(Refusal, match="others may enter it"):
        bases.check_base(tmp_path)


def test_the_jobs_own_temporary_folder_is_taken_where_there_is_one(tmp_path: Path) -> None:
    (tmp_path / "job").mkdir()
    told = {"TMPDIR": str(tmp_path), "SLURM_TMPDIR": str(tmp_path / "job")}
    assert bases.base("", told) == tmp_path / "job" / USUAL
    assert bases.base("", told | {"SLURM_TMPDIR": str(tmp_path / "gone")}) == tmp_path / USUAL
    assert bases.temporary({"TMPDIR": str(tmp_path / "gone")}) == Path("/tmp")
    assert bases.base(str(tmp_path / "mine"), told) == tmp_path / "mine"


def test_a_link_in_place_of_the_base_is_refused(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.mkdir(mode=0o700)
    link.symlink_to(real)
    with pytest.raises(Refusal, match="is not a folder of yours"):
        bases.check_base(link)


def test_a_base_that_goes_and_comes_again_meanwhile_is_not_barred(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tmp_path / "base"
    base.mkdir(mode=0o700)

    def made_anew(*_: object) -> bool:
        base.rmdir()
        base.mkdir(mode=0o700)
        return False

    monkeypatch.setattr(os, "access", made_anew)
    bases.check_base(base)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(Refusal, match="it is not writable for you"):
        bases.check_base(base)


@pytest.mark.parametrize("kind", ["link", "file", "dangling"])
def test_who_is_there_first_with_our_name_stops_nobody(tmp_path: Path, kind: str) -> None:
    """A link or a file stands for what a stranger can make there; a stranger's folder is the same by its owner."""
    told = {"TMPDIR": str(tmp_path)}
    real = tmp_path / "real"
    real.mkdir(mode=0o700)
    held = tmp_path / USUAL
    held.touch() if kind == "file" else held.symlink_to(real if kind == "link" else tmp_path / "nowhere")
    assert bases.all_bases("", told) == ()
    first = bases.base("", told)
    assert first.name.startswith(f"{USUAL}-")
    assert first != bases.base("", told), "it can be guessed"
    with session_folders.session_folder(first, "one") as place:
        assert bases.base("", told) == first, "the sessions of a user are not together"
        assert session_folders.find(bases.all_bases("", told), "") == place
        held.unlink()
        assert session_folders.find(bases.all_bases("", told), "one") == place, "lost when the stranger had gone"
    assert not list(real.iterdir())
    assert bases.base("", told) == tmp_path / USUAL


def test_sessions_from_before_a_stranger_went_and_after_are_all_found(tmp_path: Path) -> None:
    told = {"TMPDIR": str(tmp_path)}
    other = tmp_path / f"{USUAL}-0123abcd"
    with session_folders.session_folder(other, "old"), session_folders.session_folder(tmp_path / USUAL, "new"):
        assert [path.name for path in session_folders.alive(*bases.all_bases("", told))] == ["new", "old"]


def test_another_name_counts_only_if_it_is_ours_alone(tmp_path: Path) -> None:
    told = {"TMPDIR": str(tmp_path)}
    (tmp_path / USUAL).touch()
    (tmp_path / f"{USUAL}-00000000").symlink_to(tmp_path)
    (tmp_path / f"{USUAL}-11111111").mkdir(mode=0o755)
    (tmp_path / f"{USUAL}-backup").mkdir(mode=0o700)
    assert bases.all_bases("", told) == ()


def test_a_strangers_folder_that_was_named_is_not_looked_into(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(Refusal, match="is not a folder of yours"):
        bases.all_bases(str(tmp_path / "link"), {})
