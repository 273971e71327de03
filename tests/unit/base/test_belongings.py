"""What was found and not named counts if it is its owner's: a stranger gives no settings, and withholds none."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from sevenlbd.base import belongings
from sevenlbd.base.belongings import Owners, Strangers
from sevenlbd.base.errors import Refusal
from sevenlbd.config import sources

SITE = Owners(frozenset({0, os.getuid()}), "the site's", "the site's")
STRANGER = Owners(frozenset({4242}), "the site's", "the site's")


@pytest.fixture
def sticky(tmp_path: Path) -> Path:
    """A folder as /tmp is, with a SIF of ours in it."""
    (tmp_path / "7lbd.sif").touch()
    tmp_path.chmod(0o1777)
    return tmp_path


def look(folder: Path) -> sources.Places:
    return sources.look_around({"APPTAINER_CONTAINER": str(folder / "7lbd.sif"), "HOME": str(folder / "home")})


def site_file(folder: Path, text: str = "memory = '3G'", mode: int = 0o644) -> Path:
    file = folder / "7lbd.toml"
    file.write_text(text)
    file.chmod(mode)
    return file


def memory(folder: Path) -> int:
    return sources.settings(look(folder)).settings.memory


def test_the_owners_file_counts_in_a_sticky_folder_too(sticky: Path) -> None:
    site_file(sticky)
    assert memory(sticky) == 3 << 30
    assert look(sticky).passed_over() == []


def as_link(file: Path) -> None:
    file.rename(file.with_name("real"))
    file.symlink_to("real")


def as_fifo(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


@pytest.mark.parametrize("kind", [as_link, as_fifo, Path.mkdir, lambda file: file.chmod(0o666)])
def test_what_may_be_a_strangers_is_passed_over_and_told(sticky: Path, kind: Callable[[Path], None]) -> None:
    file = site_file(sticky)
    if kind is Path.mkdir:
        file.unlink()
    kind(file)
    assert memory(sticky) == 0
    (told,) = look(sticky).passed_over()
    assert told.startswith(f"{file} is passed over: it ")


def test_a_stranger_is_told_by_the_owner_of_what_was_opened(sticky: Path) -> None:
    file = site_file(sticky)
    with pytest.raises(Strangers, match=f"belongs to user {os.getuid()}, neither the site's"):
        belongings.read(file, STRANGER)
    assert belongings.read(file, SITE)


def test_what_the_user_namespace_hides_counts_only_where_nobody_else_can_write(
    sticky: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Apptainer shows root, the SIF's owner and strangers as the same nobody."""
    file = site_file(sticky)
    monkeypatch.setattr(belongings, "nobody", os.getuid)
    with pytest.raises(Strangers, match="could be anybody's"):
        belongings.read(file, STRANGER)
    sticky.chmod(0o755)
    assert belongings.read(file, STRANGER)


def test_where_nobody_else_can_write_the_owners_mistake_is_refused(tmp_path: Path) -> None:
    """Passed over, what the site locks would not hold."""
    (tmp_path / "7lbd.sif").touch()
    tmp_path.chmod(0o755)
    file = site_file(tmp_path, mode=0o664)
    with pytest.raises(Refusal, match=f"{file}: others than its owner may write to it") as caught:
        memory(tmp_path)
    assert caught.value.hint.startswith(f"chmod go-w {file}")
    file.chmod(0o644)
    with pytest.raises(Refusal, match="belongs to user"):
        belongings.read(file, STRANGER)


def test_a_link_of_the_sites_leads_to_its_file(tmp_path: Path) -> None:
    (tmp_path / "7lbd.sif").touch()
    (tmp_path / "v2").mkdir(mode=0o755)
    tmp_path.chmod(0o755)
    site_file(tmp_path / "v2")
    (tmp_path / "7lbd.toml").symlink_to("v2/7lbd.toml")
    assert memory(tmp_path) == 3 << 30


def test_a_users_own_group_may_write_to_the_users_file(tmp_path: Path) -> None:
    config = tmp_path / "home" / ".config" / "7lbd"
    config.mkdir(parents=True)
    site_file(config, mode=0o664)
    assert memory(tmp_path) == 3 << 30


def test_images_beside_a_sif_in_a_sticky_folder_are_its_owners_or_none(
    sticky: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = sticky / "images"
    images.mkdir()
    assert look(sticky).image_folder == images
    monkeypatch.setattr(belongings, "of_sif", lambda _sif: STRANGER)
    assert look(sticky).image_folder is None
    assert look(sticky).passed_over() == [
        f"{images} is passed over: it belongs to user {os.getuid()}, neither the site's"
    ]


def test_a_file_without_end_is_not_read(sticky: Path) -> None:
    file = site_file(sticky)
    os.truncate(file, 1 << 40)
    with pytest.raises(Strangers, match="more than"):
        belongings.read(file, SITE)
