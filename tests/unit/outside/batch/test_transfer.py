"""Files that come back from a guest: plain ones, whole, the user's own, by no way that the guest has laid."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from sevenlbd.base.errors import Refusal
from sevenlbd.outside.batch import transfer
from sevenlbd.outside.batch.order import Order
from sevenlbd.outside.batch.request import JobRequest
from sevenlbd.outside.batch.verdict import CommandEnd

WELL = CommandEnd(0, full=0)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    (tmp_path / "mine").mkdir()
    return tmp_path / "work"


def held(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY)


def back(work: Path, *patterns: str, umask: int = 0o027, end: CommandEnd = WELL) -> CommandEnd:
    mine = work.parent / "mine"
    request = JobRequest(Order(("x",)), outputs=patterns, folder=str(mine), umask=umask)
    return transfer.fetched(held(work), request, end)


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def test_what_fits_comes_back_with_the_users_own_modes(work: Path) -> None:
    (work / "a" / "b").mkdir(parents=True)
    (work / "a" / "b" / "x.csv").write_text("1")
    (work / "y.csv").write_text("2")
    (work / "y.csv").chmod(0o4777)
    (work / "z.txt").write_text("3")
    assert back(work, "**/*.csv") == WELL
    mine = work.parent / "mine"
    assert names(mine) == ["a/b/x.csv", "y.csv"]
    assert stat.S_IMODE((mine / "y.csv").stat().st_mode) == 0o640
    assert stat.S_IMODE((mine / "a" / "b").stat().st_mode) == 0o750


def test_holes_of_the_guests_cost_nothing_and_a_copy_can_be_interrupted(work: Path) -> None:
    with (work / "huge").open("wb") as file:
        file.seek(3 << 20)
        file.write(b"in the middle")
        file.truncate(1 << 40)
    assert back(work, "huge") == WELL
    came = work.parent / "mine" / "huge"
    assert (came.stat().st_size, came.stat().st_blocks * 512 < 1 << 20) == (1 << 40, True)
    with came.open("rb") as file:
        file.seek(3 << 20)
        assert file.read(13) == b"in the middle"
    came.unlink()
    request = JobRequest(Order(("x",)), outputs=("huge",), folder=str(came.parent))
    assert "interrupted: only 0" in transfer.fetched(held(work), request, WELL, lambda: True).said
    assert names(came.parent) == []


@pytest.mark.parametrize("letter", ["x", "\u00e4", "\u7b97", "\U0001f40d"])
def test_a_name_as_long_as_a_file_system_takes_comes_back(work: Path, letter: str) -> None:
    name = letter * (255 // len(letter.encode()))
    (work / name).write_text("1")
    assert back(work, "*") == WELL
    assert names(work.parent / "mine") == [name]


def test_ten_thousand_files_come_back(work: Path) -> None:
    for number in range(10_000):
        (work / f"{number}.out").write_bytes(b"%d" % number)
    assert back(work, "*.out") == WELL
    mine = work.parent / "mine"
    assert sum(1 for _ in mine.iterdir()) == 10_000
    assert (mine / "9999.out").read_bytes() == b"9999"


def test_links_pipes_and_folders_of_the_guests_are_left_where_they_are(work: Path) -> None:
    (work.parent / "secret").write_text("key")
    (work / "link").symlink_to(work.parent / "secret")
    (work / "out").symlink_to(work.parent)
    os.mkfifo(work / "pipe")
    assert back(work, "**").code == 125
    assert names(work.parent / "mine") == []


def test_what_stands_in_the_way_is_replaced_and_never_written_through(work: Path) -> None:
    mine = work.parent / "mine"
    (work.parent / "precious").write_text("mine")
    (mine / "x").symlink_to(work.parent / "precious")
    (work / "x").write_text("new")
    assert back(work, "x") == WELL
    assert (work.parent / "precious").read_text() == "mine"
    assert (mine / "x").read_text() == "new"
    assert not (mine / "x").is_symlink()


def test_a_folder_that_is_a_link_is_not_gone_through(work: Path) -> None:
    mine = work.parent / "mine"
    (work.parent / "elsewhere").mkdir()
    (mine / "sub").symlink_to(work.parent / "elsewhere")
    (work / "sub").mkdir()
    (work / "sub" / "x").write_text("new")
    end = back(work, "sub/*")
    assert (end.code, end.own) == (125, False)
    assert names(work.parent / "elsewhere") == []


def test_a_full_disk_is_told_with_what_came_back_and_leaves_no_half_of_a_file(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        (work / name).write_bytes(bytes(1 << 16))
    copied = transfer._copy

    def full(source: int, made: int, is_over: Callable[[], bool]) -> None:
        if os.fstat(source).st_ino == (work / "b").stat().st_ino:
            os.write(made, b"half")
            raise OSError(28, "No space left on device")
        copied(source, made, is_over)

    monkeypatch.setattr(transfer, "_copy", full)
    end = back(work, "*")
    assert (end.code, end.own) == (125, False)
    assert "b: No space left on device: only 1 of its files" in end.said
    assert names(work.parent / "mine") == ["a"]


def test_a_command_that_ended_well_and_left_nothing_has_failed(work: Path) -> None:
    assert back(work, "*.csv").code == 125
    assert back(work, "*.csv", end=CommandEnd(3, full=3)).code == 3


def test_each_command_finds_its_inputs_and_nothing_of_the_last_one(work: Path) -> None:
    (work / "left").mkdir()
    (work / "left" / "x").write_text("old")
    (work / "link").symlink_to(work.parent / "mine")
    (work.parent / "case.inp").write_text("7")
    transfer.bring([str(work.parent / "case.inp")], held(work))
    assert names(work) == ["case.inp"]
    assert (work.parent / "mine").is_dir()


def test_an_input_that_cannot_be_copied_is_refused(work: Path) -> None:
    with pytest.raises(Refusal, match="--input .*: cannot be copied"):
        transfer.bring([str(work.parent / "none")], held(work))


def test_a_folder_goes_in_with_all_in_it_and_the_users_own_links_are_followed(work: Path) -> None:
    (work.parent / "case" / "mesh").mkdir(parents=True)
    (work.parent / "case" / "mesh" / "a.msh").write_text("1")
    (work.parent / "elsewhere").write_text("2")
    (work.parent / "case" / "b").symlink_to(work.parent / "elsewhere")
    (work.parent / "case" / "run.sh").touch(0o755)
    transfer.bring([str(work.parent / "case")], held(work))
    assert names(work) == ["case/b", "case/mesh/a.msh", "case/run.sh"]
    assert not (work / "case" / "b").is_symlink()
    assert os.access(work / "case" / "run.sh", os.X_OK)
    (work.parent / "case" / "round").symlink_to(work.parent / "case")
    with pytest.raises(Refusal, match="round: leads back to a folder that it is in"):
        transfer.bring([str(work.parent / "case")], held(work))
    assert names(work) == ["case/b", "case/mesh/a.msh"], "nothing is copied twice"


def test_a_copy_of_inputs_can_be_interrupted(work: Path) -> None:
    (work.parent / "case").mkdir()
    for name in "abc":
        (work.parent / "case" / name).write_text(name)
    with pytest.raises(InterruptedError):
        transfer.bring([str(work.parent / "case")], held(work), lambda: "case/b" in names(work))
    assert names(work) == ["case/a", "case/b"]


@pytest.mark.parametrize("name", ["case.inp", "folder"])
def test_a_link_that_the_guest_puts_in_an_inputs_place_is_not_written_through(
    work: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Between the emptying of its folder and the copy."""
    (work.parent / "mine" / "case.inp").write_text("precious")
    (work.parent / "case.inp").write_text("7")
    (work.parent / "folder").mkdir()
    (work.parent / "folder" / "case.inp").write_text("7")
    emptied = transfer._empty

    def then_a_link(at: int) -> None:
        emptied(at)
        (work / name).symlink_to(work.parent / "mine" / ("case.inp" if name == "case.inp" else ""))

    monkeypatch.setattr(transfer, "_empty", then_a_link)
    with pytest.raises(Refusal, match="--input"):
        transfer.bring([str(work.parent / name)], held(work))
    assert (work.parent / "mine" / "case.inp").read_text() == "precious"


def test_the_commands_folder_stays_the_one_that_was_opened(work: Path) -> None:
    """Its path is another folder of the user's by now."""
    (work.parent / "case.inp").write_text("7")
    (work.parent / "mine" / "precious").touch()
    at = held(work)
    work.rename(work.parent / "aside")
    work.symlink_to(work.parent / "mine")
    transfer.bring([str(work.parent / "case.inp")], at)
    assert names(work.parent / "mine") == ["precious"]
    assert names(work.parent / "aside") == ["case.inp"]


def test_what_says_that_it_is_empty_and_is_not_is_brought_whole(work: Path) -> None:
    # All of /proc is so; of what has no end it is told.
    transfer.bring(["/proc/version", "/proc/self/status"], held(work))
    assert (work / "version").read_text() == Path("/proc/version").read_text()
    assert "Uid:" in (work / "status").read_text()
    with pytest.raises(Refusal, match="pagemap: cannot be copied: does not say its size, and has no end"):
        transfer.bring(["/proc/self/pagemap"], held(work))
