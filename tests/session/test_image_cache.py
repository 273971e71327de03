"""`7lbd image cache`: a node's own copies; interrupted, altered, crowded, on a full disk, and in strange folders."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import harness
import pytest
from conftest import Refuse, StartSession
from strange import IMAGE, RESOURCES, USAGE, boots, refusal

MIB = 1 << 20
DISK = 24 * MIB
RATE = 10 * MIB


@pytest.fixture(scope="module")
def shared(work: Path, blank_image: Path) -> Iterator[Path]:
    """A repository: `lab`, with a disk that is nothing but noise and then a hole, signed; `blank`, which boots."""
    folder = work / "shared"
    for version in ("1", "2", "3"):
        put(folder / "lab" / version, version)
    (folder / "blank").mkdir()
    shutil.copytree(blank_image, folder / "blank" / "1")
    for name in ("lab", "blank"):
        (folder / name / "current").symlink_to("1")
    made = harness.run("image", "keygen", str(work / "site"), cwd=work)
    assert made.returncode == 0, made.stderr
    image(folder, "sign", "lab@1", "--key", str(work / "site.key"))
    yield folder
    subprocess.run(["chmod", "-R", "u+w", str(folder)], check=True)


def put(folder: Path, version: str) -> None:
    folder.mkdir(parents=True)
    with (folder / "disk.raw").open("wb") as disk:
        disk.write(os.urandom(DISK))
        disk.truncate(3 * DISK)
    (folder / "image.toml").write_text(f'name = "lab"\nversion = "{version}"\ndisk = "disk.raw"\nformat = "raw"\n')


@pytest.fixture
def cache(work: Path) -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(dir=work, prefix="c")) / "cache"
    yield place
    subprocess.run(["chmod", "-R", "u+w", str(place.parent)], check=True)
    shutil.rmtree(place.parent)


def image(shared: Path, *words: str) -> str:
    """What a verb of `image` prints when all is well."""
    done = harness.run("image", *words, "--image-dir", str(shared))
    assert done.returncode == 0, done.stderr
    return done.stdout


def words(shared: Path, cache: Path, *more: str) -> list[str]:
    return ["image", "cache", "--image-dir", str(shared), "--image-cache", str(cache), *more]


def begun(shared: Path, cache: Path, *more: str) -> subprocess.Popen[str]:
    """A slow fetch of lab that has begun: some of it has arrived."""
    call = harness.command(*words(shared, cache, "--image-cache-rate", str(RATE), *more))
    process = subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + harness.PATIENCE
    while arrived(cache) < 6 * MIB:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return process


def worker(process: subprocess.Popen[str]) -> int:
    """The PID of the one that does the work, below Apptainer."""
    (pid,) = [pid for pid, line in harness.descendants(process.pid).items() if line.startswith("/usr/bin/python3")]
    return pid


@contextmanager
def halted(process: subprocess.Popen[str]) -> Iterator[None]:
    """Meanwhile it does nothing."""
    pid = worker(process)
    os.kill(pid, signal.SIGSTOP)
    yield
    os.kill(pid, signal.SIGCONT)


def arrived(cache: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in cache.glob("lab/.*.partial/disk.raw"))


def refused(code: int, errors: str, wanted: int, says: list[str]) -> None:
    """A refusal in the midst of a fetch: on a slow day the progress has been told before."""
    told = "".join(line for line in errors.splitlines(keepends=True) if not line.startswith("7lbd: fetching "))
    refusal(subprocess.CompletedProcess([], code, "", told), wanted, says)


def alter(path: Path, at: int, old: bytes = b"") -> bytes:
    """Change a byte, or put the old one back, and leave the times as they were. Returns the old one."""
    times, mode = path.stat(), path.stat().st_mode
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.seek(at)
        was = file.read(1)
        file.seek(at)
        file.write(old or bytes([was[0] ^ 1]))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    path.chmod(mode)
    return was


def same(first: Path, second: Path) -> bool:
    return subprocess.run(["cmp", "-s", str(first), str(second)], check=False).returncode == 0


def test_a_killed_fetch_goes_on_where_it_was(shared: Path, cache: Path) -> None:
    disk, copy = shared / "lab" / "1" / "disk.raw", cache / "lab" / "1" / "disk.raw"
    process = begun(shared, cache, "lab")
    for pid in harness.descendants(process.pid):
        os.kill(pid, signal.SIGKILL)
    process.communicate()
    had = arrived(cache) // (4 * MIB) * (4 * MIB)
    assert 0 < had < DISK
    assert not copy.exists()
    assert "lab@1  " in image(shared, "cache", "--image-cache", str(cache))
    assert "not whole" in image(shared, "cache", "--image-cache", str(cache), "--list")
    # What has arrived is not read again: an alteration there, which would be refused, goes unnoticed.
    old = alter(disk, 100)
    try:
        told = image(shared, "cache", "--image-cache", str(cache), "lab")
    finally:
        alter(disk, 100, old)
    found = re.search(r"lab@1 is in .*: ([\d.]+) MiB fetched", told)
    assert found, told
    assert float(found[1]) * MIB <= DISK - had + MIB
    assert same(disk, copy)
    assert copy.stat().st_blocks * 512 <= DISK + MIB, "sparse stays sparse"
    assert not copy.stat().st_mode & 0o222
    assert "lab@1 is in" in image(shared, "cache", "--image-cache", str(cache), "lab@1")


def test_of_two_fetchers_one_waits_or_goes_on_without(shared: Path, cache: Path) -> None:
    first = begun(shared, cache, "lab")
    with halted(first):
        no_wait = harness.run(*words(shared, cache, "lab", "--no-wait"))
        assert (no_wait.returncode, "not waiting" in no_wait.stdout) == (0, True), no_wait.stderr
        refusal(harness.run(*words(shared, cache, "--drop", "lab@1")), IMAGE, ["somebody is fetching"])
        call = harness.command(*words(shared, cache, "lab"))
        second = subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert second.stderr
        assert "is being filled; waiting" in second.stderr.readline()
    out, errors = first.communicate(timeout=harness.PATIENCE)
    assert first.returncode == 0, errors
    assert "every chunk as the manifest says" in out
    out, errors = second.communicate(timeout=harness.PATIENCE)
    assert (second.returncode, "has been fetched meanwhile" in out) == (0, True), errors
    assert same(shared / "lab" / "1" / "disk.raw", cache / "lab" / "1" / "disk.raw")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_and_sigterm_keep_what_has_arrived(shared: Path, cache: Path, number: signal.Signals, code: int) -> None:
    process = begun(shared, cache, "lab")
    os.kill(worker(process), number)
    _, errors = process.communicate(timeout=harness.PATIENCE)
    assert process.returncode == code
    assert "the next call goes on from there" in errors
    assert "Traceback" not in errors
    assert arrived(cache) >= 4 * MIB


def test_an_altered_chunk_is_refused_and_named(shared: Path, cache: Path) -> None:
    disk = shared / "lab" / "1" / "disk.raw"
    old = alter(disk, 9 * MIB)
    try:
        done = harness.run(*words(shared, cache, "lab"))
        refusal(done, IMAGE, [str(disk), "was altered", f"bytes {8 * MIB} to {12 * MIB}"])
        assert not (cache / "lab" / "1").exists()
    finally:
        alter(disk, 9 * MIB, old)
    image(shared, "cache", "--image-cache", str(cache), "lab")
    assert same(disk, cache / "lab" / "1" / "disk.raw")


@pytest.mark.parametrize("version", ["1", "2"], ids=["signed", "unsigned"])
def test_an_image_that_is_replaced_meanwhile_is_refused(shared: Path, cache: Path, version: str) -> None:
    disk = shared / "lab" / version / "disk.raw"
    disk.parent.chmod(0o755)
    process = begun(shared, cache, f"lab@{version}")
    with halted(process):
        disk.rename(shared / "aside")
        subprocess.run(["cp", str(shared / "aside"), str(disk)], check=True)
    _, errors = process.communicate(timeout=harness.PATIENCE)
    (shared / "aside").replace(disk)
    refused(process.returncode, errors, IMAGE, [str(disk), "was changed while"])
    assert not (cache / "lab" / version).exists()


def test_the_least_recently_used_makes_room(shared: Path, cache: Path) -> None:
    quota = ["--image-cache-quota", "60M"]
    for number, version in enumerate(("1", "2")):
        done = harness.run(*words(shared, cache, f"lab@{version}", *quota))
        assert done.returncode == 0, done.stderr
        age(cache, version, 900 - number)
    age(cache, "1", 60)
    assert harness.run(*words(shared, cache, "lab@3", *quota)).returncode == 0
    listed = image(shared, "cache", "--image-cache", str(cache), *quota)
    assert [line.split()[0] for line in listed.splitlines()] == ["lab@1", "lab@3", "48.0"]
    assert "of 60.0 MiB in" in listed
    tight = harness.run(*words(shared, cache, "lab@2", "--image-cache-quota", "20M"))
    refusal(tight, RESOURCES, ["lab@2 takes 24.0 MiB", "image_cache_quota is 20.0 MiB"])
    assert "is no longer in" in image(shared, "cache", "--image-cache", str(cache), "--drop", "lab@1")
    assert (cache / "lab" / "3").is_dir()
    assert not (cache / "lab" / "1").exists()


def age(cache: Path, version: str, seconds: float) -> None:
    """Let a copy's last use be so long ago."""
    then = time.time() - seconds
    for path in [cache / "lab" / f".{version}.used", *(cache / "lab" / version).iterdir(), cache / "lab" / version]:
        os.utime(path, (then, then))


def test_a_session_takes_the_copy_and_holds_it(start: StartSession, shared: Path, cache: Path) -> None:
    asked = ("--image", "blank", "--image-dir", str(shared), "--image-cache", str(cache))
    session = start(*asked)
    assert held(session) == {shared / "blank" / "1" / "disk.qcow2"}, "that there is no cache yet is no fault"
    boots(session)
    image(shared, "cache", "--image-cache", str(cache), "blank")
    session = start(*asked)
    assert held(session) == {cache / "blank" / "1" / "disk.qcow2"}
    assert f"in use: session {session.id}" in image(shared, "cache", "--image-cache", str(cache), "--list")
    dropped = harness.run(*words(shared, cache, "--drop", "blank@1"))
    refusal(dropped, IMAGE, ["blank@1 is in use", session.id])
    boots(session)
    # A newer current one is not in the cache: no old copy stands in for it.
    shutil.copytree(shared / "blank" / "1", shared / "blank" / "2")
    (shared / "blank" / "current").unlink()
    (shared / "blank" / "current").symlink_to("2")
    session = start(*asked)
    assert held(session) == {shared / "blank" / "2" / "disk.qcow2"}
    boots(session)


def held(session: harness.Session) -> set[Path]:
    """The disks that the session holds locked: those that it runs from."""
    session.wait_phase("booting")
    found = set()
    for descriptor in Path(f"/proc/{session.supervisor()}/fd").iterdir():
        with suppress(FileNotFoundError):  # one that was closed meanwhile
            found.add(descriptor.readlink())
    return {path for path in found if path.suffix == ".qcow2"}


def test_strange_folders_are_refused(refuse: Refuse, shared: Path, cache: Path) -> None:
    run = ("--image", "blank", "--image-dir", str(shared), "--image-cache", str(cache))
    image(shared, "cache", "--image-cache", str(cache), "blank")
    cache.chmod(0o770)
    refuse(*run, code=RESOURCES, says=[str(cache), "others may write to it", "chmod go-w"])
    cache.chmod(0o755)
    # Somebody else has put it there: a number of ours in /etc/subuid stands for her.
    subordinate = ["unshare", "--map-auto", "--map-root-user", "chown", "-R"]
    subprocess.run([*subordinate, "5:5", str(cache)], check=True)
    try:
        assert cache.stat().st_uid not in (0, os.getuid())
        refuse(*run, code=RESOURCES, says=[str(cache), "could be anybody's"])
        for more in (["blank"], ["--list"]):
            refusal(harness.run(*words(shared, cache, *more)), RESOURCES, [str(cache), "could be anybody's"])
    finally:
        subprocess.run([*subordinate, "0:0", str(cache)], check=True)


def test_wrong_words_are_refused(shared: Path, cache: Path) -> None:
    for more, code, says in (
        (["lab@../2"], IMAGE, "cannot be a version's name"),
        (["../lab"], IMAGE, "cannot be an image's name"),
        (["lab@9"], IMAGE, "lab@9"),
        (["--drop", "lab"], USAGE, "names no version"),
        (["--drop", "lab@1"], IMAGE, "has no copy of lab@1"),
        (["--image-cache-rate", "fast", "lab"], USAGE, "a size is a number"),
    ):
        refusal(harness.run(*words(shared, cache, *more)), code, [says])
    refusal(harness.run("image", "cache", "lab"), USAGE, ["image_cache is not set"])
    assert not cache.exists()


def test_on_a_full_disk_nothing_is_lost(shared: Path, cache: Path) -> None:
    """Too small from the beginning: refused before anything is fetched. Filled meanwhile: kept, and gone on with."""
    cache.mkdir(mode=0o700)
    call = harness.command(*words(shared, cache, "lab"))
    script = f"""
        mount -t tmpfs -o size=30m,mode=0700 none {cache}
        small=0; "$@" 2>{cache}/../small || small=$?
        mount -o remount,size=64m {cache}
        "$@" --image-cache-rate {RATE} 2>{cache}/../full & pid=$!
        while [ "$(du -sk {cache} | cut -f1)" -lt 9000 ]; do sleep 0.05; done
        fallocate -l $((64*1024*1024 - $(du -sk {cache} | cut -f1)*1024 - 3*1024*1024)) {cache}/filler
        full=0; wait $pid || full=$?
        rm {cache}/filler
        "$@" >{cache}/../again
        cmp {cache}/lab/1/disk.raw {shared}/lab/1/disk.raw
        echo $small $full
    """
    inside = ["unshare", "--map-current-user", "--keep-caps", "--mount", "bash", "-euc", script, "bash"]
    done = subprocess.run([*inside, *call], capture_output=True, text=True, timeout=harness.PATIENCE, check=False)
    assert done.stdout.split()[-2:] == ["5", "5"], done
    small, full, again = ((cache.parent / name).read_text() for name in ("small", "full", "again"))
    refused(5, small, RESOURCES, [str(cache), "there is no room for the 24.0 MiB"])
    said = [str(cache), "No space left on device", "are kept: the next call goes on from there", "--drop lab@1"]
    refused(5, full, RESOURCES, said)
    found = re.search(r"([\d.]+) MiB fetched", again)
    assert found
    assert float(found[1]) < 18, "the first chunks were kept"
