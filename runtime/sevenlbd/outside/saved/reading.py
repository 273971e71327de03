"""A saved desktop is read, whoever wrote it: its header, its opening, all of it for a check, or into a session's files.

What age gives has been authenticated piece by piece, and its end is known: a file that was cut short or changed is
noticed before the last record. What it says inside is still somebody's word, and is held to what was agreed before.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

import pyrage

from ...base.errors import ExitCode, Refusal
from ...wire.codec import Malformed
from . import chunks, saved_format
from .chunks import Chunk
from .facts import Closing, Facts, Opening, PartFact, SavedHeader
from .saved_format import Damaged, Newer

Advance = Callable[[int], None]
_AHEAD = 8  # records that wait to be taken apart; each has a MiB
_BLOCK = 64 << 10  # bytes that are written or are a hole; a guess between calls and what a page of zeroes would take
_ZEROES = bytes(_BLOCK)


class Sink(Protocol):
    """Who gets what is inside."""

    def opened(self, opening: Opening) -> None:
        """The first record, which agrees with the header."""

    def chunk(self, chunk: Chunk) -> None:
        """The next one."""


class _Closed(Damaged):
    """Nothing is wrong with it, but the key; or it was damaged just where that is told."""

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(what)
        self.hint = f"{hint}; a file that was damaged may say so, too: take another copy of it"


class _Enough(Exception):
    """Nobody needs the rest."""


def header(path: Path) -> SavedHeader:
    """What anybody can read. Raises Refusal."""
    with _refusing(path), _opened(path) as file:
        return saved_format.read_header(file)[0]


def opening(path: Path, identity: pyrage.x25519.Identity) -> tuple[Opening, str]:
    """The opening, and the digest of the header, which all of the file is held to when it is read. Raises Refusal."""
    with _refusing(path), _opened(path) as file:
        told, digest = saved_format.read_header(file)
        sink = _OpeningOnly()
        with suppress(_Enough):
            _decrypt(_Watched(file, lambda _: None), identity, _Parser(told, digest, sink))
        if sink.found is None:
            raise Damaged("its end is missing")
        return sink.found, digest


def read(
    path: Path,
    identity: pyrage.x25519.Identity,
    sink: Sink,
    advance: Advance = lambda _: None,
    expected: str | None = None,
) -> SavedHeader:
    """Read all of it; returns the header, whose digest must be the `expected` one. Raises Refusal, and what the sink
    raises."""
    with _refusing(path), _opened(path) as file:
        told, digest = saved_format.read_header(file)
        if expected not in (None, digest):
            raise Damaged("another file lies there now")
        parser = _Parser(told, digest, sink)
        with _beside(parser) as pipe:
            _decrypt(_Watched(file, advance), identity, pipe)
            pipe.finish()
        return told


def _decrypt(file: _Watched, identity: pyrage.x25519.Identity, parser: _Parser | _Pipe) -> None:
    """Raises Damaged, and what the parser raises."""
    try:
        pyrage.decrypt_io(file, parser, [identity])
    except pyrage.DecryptError as error:
        raise _closed(str(error), parser.header) from None
    except OSError as error:
        if error.errno is not None:  # of the sink's
            raise
        raise Damaged("it is truncated, or was changed") from None


def _closed(said: str, header: SavedHeader) -> Damaged:
    if "matching keys" not in said:
        return Damaged(f"it cannot be decrypted: {said}")
    if header.passphrase:
        return _Closed("the passphrase is another", "type the one that it was suspended with")
    hint = "copy the key of where it was suspended, `saved/key` below state_dir there; or suspend it --recipient KEY"
    return _Closed("it is encrypted for another key than yours", hint)


def _opened(path: Path) -> BinaryIO:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Damaged("it is not a plain file")
    return os.fdopen(descriptor, "rb")


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """Damage as a refusal that names the file."""
    try:
        yield
    except _Closed as closed:
        raise Refusal(ExitCode.USAGE, f"{path}: does not open: {closed}", hint=closed.hint) from None
    except Newer as newer:
        raise Refusal(ExitCode.USAGE, f"{path}: {newer}", hint="use the 7lbd that wrote it, or a newer one") from None
    except Damaged as damage:
        what = f"{path}: is no saved desktop to go on from: {damage}"
        raise Refusal(ExitCode.USAGE, what, hint="nothing of it was used; take another copy of it") from None


@dataclass
class _PartSoFar:
    """What has come of a part."""

    digest: hashlib._Hash
    stored: int = 0
    ends: dict[bytes, int] = field(default_factory=dict)
    """How far each kind of record has come: nothing is written twice, so the work has an end."""

    def take(self, record: bytes, chunk: Chunk) -> None:
        """Count a record. Raises Damaged when it goes back."""
        self.digest.update(record)
        self.stored += len(record)
        end = self.ends.get(chunk.kind, 0)
        for offset, length in chunk.runs:
            if offset < end:
                raise Damaged("its records are out of order")
            if length == 0:
                raise Damaged("it has runs of nothing, which nobody writes")
            end = offset + length
        self.ends[chunk.kind] = end


class _Parser:
    """What age writes to; holds the order of things: opening, chunks, closing, and nothing else."""

    def __init__(self, header: SavedHeader, digest: str, sink: Sink) -> None:
        self.header = header
        self._digest = digest
        self._sink = sink
        self._frames = saved_format.Frames()
        self._opened = False
        self._closed = False
        self._parts: dict[int, _PartSoFar] = {}

    def write(self, data: bytes) -> int:
        """The next bytes of the stream. Raises Damaged, and what the sink raises."""
        for frame in self._frames.feed(data):
            self.take(frame)
        return len(data)

    def flush(self) -> None:
        """Nothing waits."""

    def finish(self) -> None:
        """All is through. Raises Damaged when something is missing."""
        self._frames.finish()
        if not self._closed:
            raise Damaged("its end is missing")

    def take(self, frame: bytes) -> None:
        """The next record, compressed. Raises Damaged, and what the sink raises."""
        record = saved_format.unpacked(frame)
        kind = record[:1]
        if self._closed or (kind == saved_format.OPENING) == self._opened:
            raise Damaged("its records are out of order")
        try:
            if kind == saved_format.OPENING:
                self._open(saved_format.OPENINGS.unpack(record[1:]))
            elif kind == saved_format.CLOSING:
                self._close(saved_format.CLOSINGS.unpack(record[1:]))
            else:
                self._chunk(record)
        except Malformed as error:
            raise Damaged(f"a record in it cannot be read: {error}") from None

    def _open(self, opening: Opening) -> None:
        if opening.facts != self.header.facts:
            raise Damaged("its readable header is not the one that was written")
        self._opened = True
        self._sink.opened(opening)

    def _chunk(self, record: bytes) -> None:
        chunk = chunks.unpack(record)
        if chunk.part >= len(saved_format.PARTS):
            raise Damaged("it has a part that no desktop has")
        so_far = self._parts.setdefault(chunk.part, _PartSoFar(hashlib.sha256()))
        so_far.take(record, chunk)
        self._sink.chunk(chunk)

    def _close(self, closing: Closing) -> None:
        if closing.parts != self.header.parts or closing.header != self._digest:
            raise Damaged("its readable header is not the one that was written")
        told = {part.name: part for part in closing.parts}
        if len(told) != len(closing.parts) or told.keys() - set(saved_format.PARTS):
            raise Damaged("it tells of parts that no desktop has")
        for number, name in enumerate(saved_format.PARTS):
            so_far = self._parts.get(number)
            if (name in told or so_far) and not _agrees(told.get(name), so_far or _PartSoFar(hashlib.sha256())):
                raise Damaged(f"its part {name} is not what was written")
        self._closed = True


def _agrees(part: PartFact | None, so_far: _PartSoFar) -> bool:
    return part is not None and (part.stored, part.sha256) == (so_far.stored, so_far.digest.hexdigest())


class _Pipe:
    """Takes what age gives, and has a parser take it apart in a thread beside: decrypting takes half of the time."""

    def __init__(self, parser: _Parser, thread: Executor) -> None:
        self.header = parser.header
        self._parser = parser
        self._thread = thread
        self._frames = saved_format.Frames()
        self._waiting: deque[Future[None]] = deque()

    def write(self, data: bytes) -> int:
        """The next bytes of the stream. Raises what the parser has raised by now."""
        for frame in self._frames.feed(data):
            self._waiting.append(self._thread.submit(self._parser.take, frame))
            if len(self._waiting) > _AHEAD:
                self._waiting.popleft().result()
        return len(data)

    def flush(self) -> None:
        """Nothing waits."""

    def finish(self) -> None:
        """All is through. Raises what the parser has raised, and Damaged when something is missing."""
        while self._waiting:
            self._waiting.popleft().result()
        self._frames.finish()
        self._parser.finish()


@contextmanager
def _beside(parser: _Parser) -> Iterator[_Pipe]:
    """A pipe to the parser; what fails lets nothing more through."""
    thread = ThreadPoolExecutor(1)
    try:
        yield _Pipe(parser, thread)
    finally:
        thread.shutdown(cancel_futures=True)


class _Watched:
    """A file whose reader is watched."""

    def __init__(self, file: BinaryIO, advance: Advance) -> None:
        self._file = file
        self._advance = advance

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        data = self._file.read(size)
        self._advance(len(data))
        return data


class _OpeningOnly:
    """Takes the first record, and ends."""

    def __init__(self) -> None:
        self.found: Opening | None = None

    def opened(self, opening: Opening) -> None:
        self.found = opening
        raise _Enough

    def chunk(self, chunk: Chunk) -> None:
        """Never comes."""


class Check:
    """Takes all and keeps nothing."""

    def opened(self, opening: Opening) -> None:
        """Fine."""

    def chunk(self, chunk: Chunk) -> None:
        """Fine."""


@dataclass(frozen=True)
class RestoreTarget:
    """A file of the session's that is filled, and how long it may become."""

    descriptor: int
    most: int


class Restore:
    """Fills a session's files. What is as in the warm memory is copied from `base`."""

    def __init__(self, expected: Facts, targets: Mapping[int, RestoreTarget], base: int | None) -> None:
        self._expected = expected
        self._targets = targets
        self._base = base
        self._base_at = 0

    def opened(self, opening: Opening) -> None:
        """Raises Damaged when it is not the desktop that was looked at before."""
        if opening.facts != self._expected:
            raise Damaged("another file lies there now")
        self._base_at = opening.facts.memory_at

    def chunk(self, chunk: Chunk) -> None:
        """Raises Damaged for what is out of bounds, OSError when there is no room."""
        target = self._targets.get(chunk.part)
        if target is None:
            raise Damaged(f"it has a part that this machine has not: {saved_format.PARTS[chunk.part]}")
        at = 0
        for offset, length in chunk.runs:
            if offset + length > target.most:
                raise Damaged(f"its part {saved_format.PARTS[chunk.part]} is longer than any such file")
            if chunk.kind == saved_format.DATA:
                _write(target.descriptor, chunk.data[at : at + length], offset)
                at += length
            else:
                self._copy(target.descriptor, offset, length)

    def _copy(self, descriptor: int, offset: int, length: int) -> None:
        if self._base is None or offset < self._base_at:
            raise Damaged("it speaks of a warm memory that it does not have")
        while length > 0:
            piece = os.pread(self._base, min(length, 1 << 20), offset - self._base_at)
            if not piece:
                raise Damaged("it speaks of a larger warm memory than there is")
            _write(descriptor, memoryview(piece), offset)
            offset, length = offset + len(piece), length - len(piece)


def _write(descriptor: int, data: memoryview, offset: int) -> None:
    """Zeroes are holes: a record of them packs to a thousandth, and would fill a disk."""
    begin = 0
    for at in range(0, len(data), _BLOCK):
        block = data[at : at + _BLOCK]
        if not block[0] and _ZEROES.startswith(block.tobytes()):
            _write_all(descriptor, data[begin:at], offset + begin)
            begin = at + len(block)
    _write_all(descriptor, data[begin:], offset + begin)


def _write_all(descriptor: int, data: memoryview, offset: int) -> None:
    while data:
        written = os.pwrite(descriptor, data, offset)
        data, offset = data[written:], offset + written
