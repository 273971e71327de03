"""A saved desktop as a file: written whole, read back the same, and believed in nothing that was changed."""

from __future__ import annotations

import errno
import hashlib
import io
import itertools
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pyrage
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from sevenlbd.base.errors import Refusal
from sevenlbd.outside.saved import chunks, reading, saved_format, writing
from sevenlbd.outside.saved.chunks import Base
from sevenlbd.outside.saved.facts import (
    Closing,
    Facts,
    LayerFact,
    MachineFacts,
    Opening,
    PartFact,
    SavedHeader,
    Secrets,
)
from sevenlbd.outside.saved.reading import Restore, RestoreTarget
from sevenlbd.outside.saved.saved_format import Damaged
from sevenlbd.outside.saved.writing import open_part

MEMORY = 8 << 20
ROOM = saved_format.HEADER_ROOM
AT = 1 << 20  # where the memory begins in the state
MACHINE = MachineFacts(
    *("1:10.0", "pc-q35-10.0", "tcg", "max", 2, MEMORY, "tap", "52:54:00:07:1b:d0"),
    *("uefi", False, "virtio", "virtio", "virtio", "linux", "utc", 1 << 30),
)
FACTS = Facts(
    session="one",
    image="demo",
    version="1",
    title="demo@1",
    account="user1",
    user="ann",
    machine=MACHINE,
    layers=(LayerFact("disk.qcow2", "qcow2", 1 << 20, "ab" * 32),),
    memory=LayerFact("warm/memory", "raw", MEMORY, "cd" * 32),
    memory_at=AT,
)
PLAIN_PARTS = saved_format.PARTS[: saved_format.MEMORY_PART]
"""Of a session that is not encrypted."""
OPENING = Opening(FACTS, Secrets("Pw0" * 8, "ann"))


@dataclass
class World:
    """A session's files and the image's warm memory, and what was written of them."""

    folder: Path
    key: pyrage.x25519.Identity
    path: Path
    header: SavedHeader

    def restored(self) -> tuple[bytes, bytes, bytes]:
        """What comes out again."""
        with Opened(*(self.folder / f"new{number}" for number in range(3))) as targets, Opened(self.warm) as (base,):
            sink = Restore(FACTS, {n: RestoreTarget(fd, 1 << 30) for n, fd in enumerate(targets)}, base)
            header = reading.read(self.path, self.key, sink)
            for part in header.parts:
                os.ftruncate(targets[saved_format.PARTS.index(part.name)], part.size)
        first, second, third = ((self.folder / f"new{number}").read_bytes() for number in range(3))
        return first, second, third

    @property
    def warm(self) -> Path:
        return self.folder / "warm"


class Opened:
    """Files, opened together, made if they are not there."""

    def __init__(self, *paths: Path) -> None:
        self._fds = [os.open(path, os.O_RDWR | os.O_CREAT, 0o600) for path in paths]

    def __enter__(self) -> list[int]:
        return self._fds

    def __exit__(self, *_: object) -> None:
        for fd in self._fds:
            os.close(fd)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """One saved desktop: some of its memory as it was warm, some its own, some zero; holes in its disk."""
    folder = tmp_path_factory.mktemp("saved")
    page = chunks.PAGE
    warm = bytearray(MEMORY)
    warm[: 3 << 20] = secrets.token_bytes(3 << 20)
    (folder / "warm").write_bytes(warm)
    memory = bytearray(warm)
    memory[5 * page : 6 * page] = bytes(page)  # zero now
    memory[9 * page : 10 * page] = secrets.token_bytes(page)
    memory[5 << 20 : 6 << 20] = secrets.token_bytes(1 << 20)
    (folder / "state").write_bytes(b"head".ljust(AT, b"\0") + memory + b"devices")
    with (folder / "overlay.qcow2").open("wb") as disk:
        disk.write(b"QFI\xfb" + secrets.token_bytes(100))
        disk.seek(64 << 20)
        disk.write(secrets.token_bytes(3 * page))
        disk.truncate(65 << 20)
    (folder / "variables.fd").write_bytes(b"\xff" * 540672)
    key = pyrage.x25519.Identity.generate()
    path = folder / "one.7lbd"
    files = [folder / name for name in PLAIN_PARTS]
    with (
        Opened(*files) as (disk_fd, state, variables),
        Opened(folder / "warm") as (base,),
        writing.new_file(path) as file,
    ):
        parts = [open_part(0, disk_fd), open_part(1, state, Base(base, AT, MEMORY)), open_part(2, variables)]
        writing.write(file, OPENING, parts, [key.to_public()])
    return World(folder, key, path, reading.header(path))


def test_what_was_written_comes_out_again(world: World) -> None:
    assert world.restored() == tuple((world.folder / name).read_bytes() for name in PLAIN_PARTS)


def test_it_holds_neither_zeroes_nor_what_the_warm_memory_has(world: World) -> None:
    stored = {part.name: part.stored for part in world.header.parts}
    own = 3 * chunks.PAGE  # a page that changed, one that became zero is none, the state's head and end
    assert stored["state"] < (1 << 20) + own + 4096, "a MiB of its own, of three that were warm and four that are zero"
    assert stored["overlay.qcow2"] < 5 * chunks.PAGE
    assert world.path.stat().st_size < 2 << 20


def test_its_header_is_for_everybody_and_its_secrets_for_none(world: World) -> None:
    assert reading.header(world.path) == world.header
    begin = world.path.read_bytes()[:ROOM]
    assert b'"title": "demo@1"' in begin
    assert OPENING.secrets.password.encode() not in world.path.read_bytes()
    assert world.path.stat().st_mode & 0o777 == 0o600


def test_another_key_opens_nothing(world: World) -> None:
    with pytest.raises(Refusal, match="another key than yours"):
        reading.opening(world.path, pyrage.x25519.Identity.generate())


def damaged(world: World, tmp_path: Path, content: bytes) -> Refusal:
    """What is said of a file with this content."""
    path = tmp_path / "other.7lbd"
    path.write_bytes(content)
    with pytest.raises(Refusal) as refused:
        reading.read(path, world.key, reading.Check())
    return refused.value


def test_a_file_cut_anywhere_is_refused(world: World, tmp_path: Path) -> None:
    whole = world.path.read_bytes()
    cuts = {
        0,
        10,
        ROOM - 1,
        ROOM,
        ROOM + 50,
        len(whole) - 1,
    }
    for cut in cuts | {len(whole) * part // 17 for part in range(1, 17)}:
        assert "no saved desktop" in damaged(world, tmp_path, whole[:cut]).what, cut


def test_a_bit_that_was_changed_anywhere_is_noticed(world: World, tmp_path: Path) -> None:
    whole = world.path.read_bytes()
    header = whole[:ROOM].rstrip()
    assert len(header) > 1000
    places = [
        *range(0, len(header), 37),
        *range(ROOM, len(whole), len(whole) // 60),
        len(whole) - 1,
    ]
    for at in places:
        changed = bytearray(whole)
        changed[at] ^= 1
        refusal = damaged(world, tmp_path, bytes(changed))
        assert "no saved desktop" in refusal.what or "format" in refusal.what, at


def test_bytes_behind_its_end_are_noticed(world: World, tmp_path: Path) -> None:
    damaged(world, tmp_path, world.path.read_bytes() + b"more")


def test_a_newer_format_says_so(world: World, tmp_path: Path) -> None:
    changed = world.path.read_bytes().replace(b"format 1", b"format 3", 1)
    what = damaged(world, tmp_path, changed).what
    assert "of format 3, and this 7lbd knows 2" in what
    assert ".7lbd: " in what, "which of them"


@pytest.mark.parametrize("content", [b"", b"\x7fELF" + bytes(100000), b"7lbd saved desktop, format x\n" + bytes(40000)])
def test_a_foreign_file_is_refused(world: World, tmp_path: Path, content: bytes) -> None:
    assert "does not begin as a saved desktop does" in damaged(world, tmp_path, content).what


@pytest.mark.parametrize("size", [-1, 1 << 50, 10**400])
def test_a_header_with_sizes_that_there_are_not_is_refused(tmp_path: Path, size: int) -> None:
    facts = replace(FACTS, machine=replace(MACHINE, memory=size))
    (tmp_path / "one.7lbd").write_bytes(saved_format.pack_header(SavedHeader(facts, ())))
    with pytest.raises(Refusal, match="sizes that there are not"):
        reading.header(tmp_path / "one.7lbd")


def test_what_is_no_plain_file_is_not_waited_for(world: World, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.7lbd")
    with pytest.raises(Refusal, match="not a plain file"):
        reading.header(tmp_path / "pipe.7lbd")


def forged(world: World, path: Path, records: list[bytes], header: SavedHeader | None = None) -> Path:
    """A file made by somebody who knows the public key."""
    stream = b"".join(records)
    with path.open("wb") as file:
        file.write(saved_format.pack_header(header or SavedHeader(FACTS, ())))
        file.write(pyrage.encrypt(stream, [world.key.to_public()]))
    return path


def opening(facts: Facts = FACTS) -> bytes:
    return saved_format.compressed(saved_format.OPENING + saved_format.OPENINGS.pack(replace(OPENING, facts=facts)))


NO_PARTS = saved_format.digest_of_header(saved_format.pack_header(SavedHeader(FACTS, ())))
CLOSING = saved_format.compressed(saved_format.CLOSING + saved_format.CLOSINGS.pack(Closing((), NO_PARTS)))


def data(part: int, runs: list[tuple[int, int]], content: bytes, kind: bytes = saved_format.DATA) -> bytes:
    return saved_format.compressed(chunks.pack(kind, part, runs, content))


PAGE = bytes(range(256)) * 16
FORGERIES = {
    "no opening": [CLOSING],
    "no closing": [opening()],
    "two openings": [opening(), opening(), CLOSING],
    "something after the closing": [opening(), CLOSING, CLOSING],
    "an opening that the header does not tell": [opening(replace(FACTS, session="two")), CLOSING],
    "a part that there is not": [opening(), data(7, [(0, 4096)], PAGE), CLOSING],
    "a part that the closing does not know": [opening(), data(0, [(0, 4096)], PAGE), CLOSING],
    "fewer bytes than it says": [opening(), data(0, [(0, 8192)], PAGE), CLOSING],
    "more runs than it has": [opening(), saved_format.compressed(b"D\0\xff\xff\xff\x7f"), CLOSING],
    "a record that goes back": [opening(), data(0, [(8192, 4096)], PAGE), data(0, [(0, 4096)], PAGE), CLOSING],
    "a record of no kind": [opening(), saved_format.compressed(b"Z" + bytes(100)), CLOSING],
    "an opening that is none": [saved_format.compressed(saved_format.OPENING + b"{}"), CLOSING],
    "a frame that unpacks to gigabytes": [
        opening(),
        saved_format.LENGTH.pack(20) + b"\x28\xb5\x2f\xfd" + bytes(16),
        CLOSING,
    ],
    "a record without an end": [opening(), saved_format.LENGTH.pack(1 << 31)],
    "no frame": [opening(), saved_format.LENGTH.pack(100) + bytes(100), CLOSING],
}


@pytest.mark.parametrize("case", FORGERIES)
def test_what_a_stranger_encrypts_for_us_is_still_a_strangers(world: World, tmp_path: Path, case: str) -> None:
    path = forged(world, tmp_path / "forged.7lbd", FORGERIES[case])
    with pytest.raises(Refusal, match="no saved desktop"):
        reading.read(path, world.key, reading.Check())


def test_runs_of_nothing_do_not_keep_the_reader_busy(world: World, tmp_path: Path) -> None:
    """A record of them packs to a thousandth: a file of some MiB would take hours."""
    path = forged(world, tmp_path / "forged.7lbd", [opening(), data(0, [(0, 0)] * 1000, b""), CLOSING])
    with pytest.raises(Refusal, match="runs of nothing"):
        reading.read(path, world.key, reading.Check())


DIGEST = "00" * 32
TOLD = {
    "bytes that are not in it": (PartFact("state", 8192, 8192, DIGEST),),
    "a part of another name": (PartFact("../key", 0, 0, hashlib.sha256().hexdigest()),),
    "a part twice": (PartFact("state", 0, 0, hashlib.sha256().hexdigest()),) * 2,
}


@pytest.mark.parametrize("case", TOLD)
def test_a_closing_that_tells_of_more_than_came_is_refused(world: World, tmp_path: Path, case: str) -> None:
    header = SavedHeader(FACTS, TOLD[case])
    digest = saved_format.digest_of_header(saved_format.pack_header(header))
    closing = saved_format.CLOSING + saved_format.CLOSINGS.pack(Closing(TOLD[case], digest))
    path = forged(world, tmp_path / "forged.7lbd", [opening(), saved_format.compressed(closing)], header)
    with pytest.raises(Refusal, match="no saved desktop"):
        reading.read(path, world.key, reading.Check())


def test_a_session_s_file_that_grows_while_it_is_written_is_taken_as_it_was(tmp_path: Path) -> None:
    """The inner side may have been taken over, and may lengthen its files after they were looked at."""
    key = pyrage.x25519.Identity.generate()
    (tmp_path / "state").write_bytes(PAGE)
    path = tmp_path / "one.7lbd"
    with Opened(tmp_path / "state") as (state,), writing.new_file(path) as file:
        part = open_part(1, state)
        os.pwrite(state, PAGE, 1 << 20)
        writing.write(file, OPENING, [part], [key.to_public()])
    assert [part.size for part in reading.header(path).parts] == [len(PAGE)]
    reading.read(path, key, reading.Check())


@pytest.mark.parametrize("left", [0, 3 << 20])
def test_a_session_s_file_that_becomes_shorter_while_it_is_written_is_not_taken_for_zeroes(
    tmp_path: Path, left: int
) -> None:
    """A machine that runs again gives its state up, whoever still reads that."""
    key = pyrage.x25519.Identity.generate()
    (tmp_path / "state").write_bytes(os.urandom(8 << 20))

    def saved(state: int) -> None:
        with writing.new_file(tmp_path / "one.7lbd") as file:
            parts = [open_part(1, state)]
            writing.write(file, OPENING, parts, [key.to_public()], lambda _: os.ftruncate(state, left))

    with Opened(tmp_path / "state") as (state,), pytest.raises(Refusal, match="state became shorter while it was read"):
        saved(state)
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_a_bomb_is_not_unpacked(world: World) -> None:
    bomb = zstandard.ZstdCompressor().compress(bytes(1 << 30))
    [frame] = saved_format.Frames().feed(saved_format.LENGTH.pack(len(bomb)) + bomb)
    with pytest.raises(Damaged, match="larger than any"):
        saved_format.unpacked(frame)


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=8), st.lists(st.integers(1, 30), min_size=1, max_size=8))
def test_records_are_the_same_however_their_bytes_come(records: list[bytes], sizes: list[int]) -> None:
    stream, found, frames = b"".join(map(saved_format.compressed, records)), [], saved_format.Frames()
    for size in itertools.cycle(sizes):
        found += [saved_format.unpacked(frame) for frame in frames.feed(stream[:size])]
        stream = stream[size:]
        if not stream:
            break
    frames.finish()
    assert found == records


@pytest.mark.parametrize(
    ("kind", "runs"),
    [
        (saved_format.DATA, [((1 << 63), 4096)]),
        (saved_format.DATA, [(1 << 20, 4096)]),
        (saved_format.SAME, [(0, 1 << 62)]),
        (saved_format.SAME, [(AT + MEMORY, 4096)]),
        (saved_format.SAME, [(0, 4096)]),
    ],
)
def test_nothing_is_written_beyond_what_was_agreed(
    world: World, tmp_path: Path, kind: bytes, runs: list[tuple[int, int]]
) -> None:
    content = PAGE if kind == saved_format.DATA else b""
    path = forged(world, tmp_path / "forged.7lbd", [opening(), data(0, runs, content, kind), CLOSING])
    with Opened(tmp_path / "target", world.warm) as (target, base):
        with pytest.raises(Refusal, match=r"longer than|warm memory"):
            reading.read(path, world.key, Restore(FACTS, {0: RestoreTarget(target, 1 << 20)}, base))
        assert os.fstat(target).st_size == 0


def test_zeroes_take_no_room(world: World, tmp_path: Path) -> None:
    """A record of them packs to a thousandth: a small file would fill the node's disk."""
    mib = 1 << 20
    zeroes = [data(0, [(at * mib, mib)], bytes(mib)) for at in range(64)]
    path = forged(world, tmp_path / "forged.7lbd", [opening(), *zeroes, data(0, [(64 * mib, 4096)], PAGE), CLOSING])
    assert path.stat().st_size < mib // 8
    with Opened(tmp_path / "target") as (target,):
        with pytest.raises(Refusal, match="is not what was written"):
            reading.read(path, world.key, Restore(FACTS, {0: RestoreTarget(target, 1 << 30)}, None))
        status = os.fstat(target)
    assert (status.st_size, status.st_blocks * 512 < mib) == (64 * mib + 4096, True)


def test_a_file_that_was_changed_after_the_check_is_not_taken(world: World, tmp_path: Path) -> None:
    expected = replace(FACTS, session="two")
    with pytest.raises(Refusal, match="another file lies there now"):
        reading.read(world.path, world.key, Restore(expected, {}, None))


@given(st.lists(st.binary(max_size=200), max_size=6))
def test_fuzz_no_record_does_more_than_be_refused(records: list[bytes]) -> None:
    reader = saved_format.Frames()
    with suppress(Damaged):
        for record in records:
            for whole in reader.feed(saved_format.LENGTH.pack(len(record)) + record):
                chunks.unpack(saved_format.unpacked(whole))
        reader.finish()


@given(st.binary(max_size=300))
def test_fuzz_no_chunk_does_more_than_be_refused(record: bytes) -> None:
    with suppress(Damaged):
        chunk = chunks.unpack(b"D\0" + record)
        assert sum(length for _, length in chunk.runs) == len(chunk.data)


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("where", ["write", "fsync"])
def test_a_write_that_fails_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, error: int
) -> None:
    """A file server tells of a quota when the file is brought to disk, and not before."""

    def fails(*_: object) -> None:
        raise OSError(error, os.strerror(error))

    target = tmp_path / "one.7lbd"
    target.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", fails if where == "fsync" else os.fsync)
    with pytest.raises(OSError, match=os.strerror(error)) as failed:
        _write_half(target, fails if where == "write" else bytes)
    assert failed.value.filename == str(target), "the message says where there is no room"
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("where", ["target", "session"])
def test_what_fails_under_way_is_told_as_what_it_is(world: World, tmp_path: Path, where: str, error: int) -> None:
    """A disk that is full is full before the file is brought to it; a session's own disk may fail, too."""

    class Failing(io.BytesIO):
        def write(self, data: object) -> int:
            raise OSError(error, os.strerror(error))

    def fails(_: int) -> None:
        raise OSError(error, os.strerror(error))

    with Opened(world.warm) as (warm,):
        target = Failing() if where == "target" else io.BytesIO()
        advance = fails if where == "session" else lambda _: None
        parts = [writing.open_part(0, warm)]
        with pytest.raises(OSError, match=os.strerror(error)) as failed:
            writing.write(target, OPENING, parts, [world.key.to_public()], advance)
    assert failed.value.errno == error


def test_where_no_file_can_be_made_the_one_that_was_wanted_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError) as failed:
        _write_half(tmp_path / "one.7lbd", bytes)
    assert failed.value.filename == str(tmp_path / "one.7lbd")


def _write_half(target: Path, then: Callable[[], object]) -> None:
    with writing.new_file(target) as file:
        file.write(b"half")
        then()


def test_the_name_is_there_when_the_file_is_on_disk_and_not_before(tmp_path: Path, calls: list[str]) -> None:
    with writing.new_file(tmp_path / "one.7lbd") as file:
        file.write(b"new")
        assert not (tmp_path / "one.7lbd").exists()
    assert calls == ["fsync", "rename", "fsync"], "the file, its name, the folder that has the name"


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the writer asks of the kernel, in order."""
    made: list[str] = []
    real_fsync, real_replace = os.fsync, Path.replace

    def fsync(descriptor: int) -> None:
        made.append("fsync")
        real_fsync(descriptor)

    def rename(path: Path, target: Path) -> Path:
        made.append("rename")
        return real_replace(path, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", rename)
    return made
