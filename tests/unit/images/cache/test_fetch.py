"""Copying a version: piece by piece, resumed after SIGKILL, sparse, at a rate, and only what the manifest says."""

from __future__ import annotations

import os
import random
import shutil
import signal
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sevenlbd.base.errors import ExitCode, Refusal
from sevenlbd.images import layout
from sevenlbd.images.cache import fetch
from sevenlbd.images.cache.fetch import Tally
from sevenlbd.images.signing import digest, manifest

MIB = 1 << 20
CHUNK = digest.CHUNK
Version = Callable[..., Path]


@pytest.fixture
def version(tmp_path: Path) -> Version:
    """Makes a version's folder: a disk of five chunks and a bit, the second and third of them a hole."""

    def make(*, signed: bool = True, name: str = "1") -> Path:
        folder = tmp_path / "shared" / "lab" / name
        (folder / "warm").mkdir(parents=True)
        (folder / "image.toml").write_text(f'name = "lab"\nversion = "{name}"\n')
        (folder / "warm" / "state").write_bytes(b"frozen" * 1000)
        (folder / "warm" / "empty").touch()
        noise = random.Random(name)
        with (folder / "disk.qcow2").open("wb") as disk:
            disk.write(noise.randbytes(CHUNK))
            disk.seek(3 * CHUNK)
            disk.write(noise.randbytes(2 * CHUNK + 12345))
        if signed:
            sign(folder)
        return folder

    return make


def sign(folder: Path) -> None:
    made = manifest.make(folder)
    (folder / layout.MANIFEST).write_bytes(made.to_json())
    (folder / layout.TREE).write_bytes(made.to_tree())


def copy(source: Path, target: Path, rate: int = 0, report: fetch.Told = lambda _: None) -> Tally:
    return fetch.fetch(fetch.look(source), target, target.with_name("journal"), rate, report)


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def alter(path: Path, at: int) -> None:
    """Change a byte, and let no time tell."""
    times = path.stat()
    with path.open("r+b") as file:
        file.seek(at)
        old = file.read(1)[0]
        file.seek(at)
        file.write(bytes([old ^ 1]))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def killed_after(pieces: int, source: Path, target: Path) -> None:
    """A fetch that is ended by SIGKILL when so many pieces have come."""
    pid = os.fork()
    if pid == 0:
        count = 0

        def report(_: Tally) -> None:
            nonlocal count
            count += 1
            if count == pieces:
                os.kill(os.getpid(), signal.SIGKILL)

        copy(source, target, report=report)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


@pytest.mark.parametrize("signed", [True, False], ids=["manifest", "journal"])
def test_a_copy_is_the_same_and_nobody_may_write_to_it(version: Version, tmp_path: Path, signed: bool) -> None:
    source, target = version(signed=signed), tmp_path / "copy"
    tally = copy(source, target)
    assert content(target) == content(source)
    assert tally.done == tally.total == sum(s.st_size for s in manifest.files(source).values())
    assert tally.fetched < 4 * CHUNK, "holes are not fetched"
    assert all(not path.stat().st_mode & 0o222 for path in [target, *target.rglob("*")])
    assert (target / "disk.qcow2").stat().st_mtime_ns == (source / "disk.qcow2").stat().st_mtime_ns
    manifest.check(target, manifest.read(target)) if signed else None


@pytest.mark.parametrize("signed", [True, False], ids=["manifest", "journal"])
def test_what_arrived_before_sigkill_is_not_fetched_again(version: Version, tmp_path: Path, signed: bool) -> None:
    source, target = version(signed=signed), tmp_path / "copy"
    whole = content(source)
    killed_after(5, source, target)
    # Were the first chunk read once more, this would come to light in the copy.
    alter(source / "disk.qcow2", 100)
    tally = copy(source, target)
    assert content(target) == whole
    assert tally.fetched <= 2 * CHUNK + 20_000


@pytest.mark.parametrize("signed", [True, False], ids=["manifest", "journal"])
def test_a_piece_that_was_damaged_here_is_fetched_again(version: Version, tmp_path: Path, signed: bool) -> None:
    source, target = version(signed=signed), tmp_path / "copy"
    killed_after(6, source, target)
    alter(target / "disk.qcow2", 100)
    alter(target / "disk.qcow2", CHUNK + 100)
    copy(source, target)
    assert content(target) == content(source)


def test_half_a_line_in_the_journal_ends_it(version: Version, tmp_path: Path) -> None:
    source, target = version(signed=False), tmp_path / "copy"
    killed_after(6, source, target)
    journal = tmp_path / "journal"
    journal.write_text(journal.read_text()[:-20])
    copy(source, target)
    assert content(target) == content(source)


@pytest.mark.parametrize("text", ["", "{}", "[1]\n[2]\n", "\0", '"x"\n' * 3])
def test_a_journal_that_makes_no_sense_is_no_journal(version: Version, tmp_path: Path, text: str) -> None:
    (tmp_path / "journal").write_text(text)
    source = version(signed=False)
    copy(source, tmp_path / "copy")
    assert content(tmp_path / "copy") == content(source)


@pytest.mark.parametrize("at", [0, 3 * CHUNK + 7, 5 * CHUNK + 12344, CHUNK + 5])
def test_an_altered_byte_in_the_source_is_refused_with_its_place(version: Version, tmp_path: Path, at: int) -> None:
    source = version()
    alter(source / "disk.qcow2", at)
    start = at // CHUNK * CHUNK
    if CHUNK <= at < 3 * CHUNK:
        # The manifest says what a hole is without a look at it: the copy is right, whatever the source has become.
        copy(source, tmp_path / "copy")
        assert not any((tmp_path / "copy" / "disk.qcow2").read_bytes()[CHUNK : 3 * CHUNK])
        return
    with pytest.raises(Refusal, match=f"disk.qcow2: was altered.* bytes {start} to ") as caught:
        copy(source, tmp_path / "copy")
    assert caught.value.code is ExitCode.IMAGE


@pytest.mark.parametrize("name", ["image.toml", "warm/state"])
def test_an_altered_small_file_is_refused(version: Version, tmp_path: Path, name: str) -> None:
    source = version()
    alter(source / name, 3)
    with pytest.raises(Refusal, match=f"{name}: was altered"):
        copy(source, tmp_path / "copy")


def test_leaves_that_do_not_make_the_root_are_refused(version: Version, tmp_path: Path) -> None:
    source = version()
    alter(source / layout.TREE, 40)
    with pytest.raises(Refusal, match="does not belong to the manifest"):
        copy(source, tmp_path / "copy")


def test_a_file_that_nobody_listed_or_that_is_missing_is_refused(version: Version, tmp_path: Path) -> None:
    source = version()
    (source / "extra").touch()
    with pytest.raises(Refusal, match="extra: is not in the manifest"):
        fetch.look(source)
    (source / "extra").unlink()
    (source / "warm" / "state").unlink()
    with pytest.raises(Refusal, match="state: is missing"):
        fetch.look(source)


def test_what_is_no_plain_file_is_refused(version: Version, tmp_path: Path) -> None:
    source = version(signed=False)
    (source / "link").symlink_to("/etc/passwd")
    with pytest.raises(Refusal, match="neither a file nor a folder"):
        fetch.look(source)


@pytest.mark.parametrize("signed", [True, False], ids=["manifest", "journal"])
@pytest.mark.parametrize("change", ["replaced", "written", "gone", "cut"])
def test_a_source_that_changes_meanwhile_is_noticed(
    version: Version, tmp_path: Path, signed: bool, change: str
) -> None:
    source = version(signed=signed)
    disk = source / "disk.qcow2"
    other = tmp_path / "other"
    shutil.copy2(disk, other)

    def report(_: Tally) -> None:
        if not other.exists():
            return
        other.rename(disk) if change == "replaced" else other.unlink()
        if change == "written":
            with disk.open("r+b") as file:
                file.write(b"x")
        elif change == "gone":
            disk.unlink()
        elif change == "cut":
            os.truncate(disk, CHUNK // 2)

    with pytest.raises(Refusal, match=r"disk.qcow2: (was changed while|is gone|became shorter)") as caught:
        copy(source, tmp_path / "copy", report=report)
    assert caught.value.code is ExitCode.IMAGE


def test_a_source_that_was_another_before_leaves_nothing_of_it(version: Version, tmp_path: Path) -> None:
    source, target = version(signed=False), tmp_path / "copy"
    killed_after(5, source, target)
    shutil.rmtree(source)
    source = version(signed=False)
    (source / "warm" / "state").rename(source / "state")
    shutil.rmtree(source / "warm")
    copy(source, target)
    assert content(target) == content(source)
    assert not (target / "warm").exists()


def allocated(path: Path) -> int:
    return path.stat().st_blocks * 512


def test_sparse_stays_sparse(version: Version, tmp_path: Path) -> None:
    source = version(signed=False)
    disk = source / "disk.qcow2"
    os.truncate(disk, 400 * CHUNK)
    with disk.open("r+b") as file:
        for at in range(40):
            file.seek(100 * CHUNK + at * 100_000)
            file.write(b"island")
    tally = copy(source, tmp_path / "copy")
    assert allocated(tmp_path / "copy" / "disk.qcow2") <= allocated(disk) + 65536  # what the map of extents takes
    assert tally.total > 400 * CHUNK
    assert tally.fetched < 6 * CHUNK


def test_zeroes_that_no_file_system_tells_of_become_holes(version: Version, tmp_path: Path) -> None:
    source = version()
    disk = source / "disk.qcow2"
    whole = disk.read_bytes()
    disk.write_bytes(whole)
    assert allocated(disk) >= len(whole)
    copy(source, tmp_path / "copy")
    assert allocated(tmp_path / "copy" / "disk.qcow2") <= len(whole) - 2 * CHUNK + 4096
    assert (tmp_path / "copy" / "disk.qcow2").read_bytes() == whole


def test_needs_counts_data_and_not_holes(version: Version) -> None:
    source = version()
    assert 3 * CHUNK < fetch.look(source).needs() < 3 * CHUNK + 100_000


def test_a_rate_is_kept(version: Version, tmp_path: Path) -> None:
    source = version()
    began = time.monotonic()
    tally = copy(source, tmp_path / "copy", rate=16 * MIB)
    took = time.monotonic() - began
    assert tally.fetched <= 16 * MIB * (took + 0.3), "a quarter of a second's worth may come at once"
    assert took < 60


def test_the_copy_is_for_those_who_may_read_the_original(version: Version, tmp_path: Path) -> None:
    source = version()
    (source / "disk.qcow2").chmod(0o640)
    (source / "image.toml").chmod(0o644)
    (source / "warm").chmod(0o700)
    copy(source, tmp_path / "copy")
    modes = {name: stat.S_IMODE((tmp_path / "copy" / name).stat().st_mode) for name in ("disk.qcow2", "warm")}
    assert modes == {"disk.qcow2": 0o440, "warm": 0o500}
    assert stat.S_IMODE((tmp_path / "copy" / "image.toml").stat().st_mode) == 0o444


def test_an_unreadable_source_is_told(version: Version, tmp_path: Path) -> None:
    source = version()
    (source / "disk.qcow2").chmod(0)
    with pytest.raises(Refusal, match="disk.qcow2: cannot be read: Permission denied"):
        copy(source, tmp_path / "copy")
