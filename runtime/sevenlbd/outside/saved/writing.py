"""A saved desktop is written: into a new file beside its place, whole, on disk, and only then under its name.

The records go straight from the session's files through zstd and age into the file. Compression is by threads.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import BinaryIO

import pyrage

from ...base import atomic
from . import chunks, places, saved_format
from .chunks import Base
from .facts import Closing, Opening, PartFact, SavedHeader
from .saved_format import Damaged

_BRING = 32 << 20  # bytes between two words to the kernel; a guess: some tenths of a second of a disk
_LOOK = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # its folder may be anybody's
_AHEAD = 8  # records that wait for a thread or for the file; each has a MiB


@dataclass(frozen=True)
class OpenPart:
    """One of the session's files, open. It was `size` bytes long when it was looked at, and is taken as that."""

    number: int
    descriptor: int
    size: int
    base: Base | None = None


def open_part(number: int, descriptor: int, base: Base | None = None) -> OpenPart:
    """The part as it is now. Whoever is inside may lengthen the file at any time."""
    return OpenPart(number, descriptor, os.fstat(descriptor).st_size, base)


@dataclass(frozen=True)
class Ours:
    """By what a session knows the file that it may replace."""

    desktop: str
    """Of whichever file (Facts.desktop)."""
    known: str = ""
    """The digest of the header that was there last, in hex; empty when that is not known."""


@contextmanager
def new_file(
    target: Path, ours: Ours | None = None, on_kept: Callable[[Path], object] = lambda _: None
) -> Iterator[BinaryIO]:
    """An empty file, locked, that becomes `target` when this ends well. Raises OSError.

    A power cut at any time leaves the old file under this name, or the new one whole. An old one that is not `ours`
    is kept, under a name beside it, which is told.
    """
    try:
        fresh, descriptor = places.locked_file(target)
    except OSError as error:
        error.filename = str(target)  # what nobody has named says nothing
        raise
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(descriptor)
        kept = _keep(target) if ours and _is_anothers(target, ours) else None
        fresh.replace(target)
        atomic.to_disk(target.parent)
        if kept:
            on_kept(kept)
    except BaseException as error:
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(target)  # of a full disk or a quota, which only the file's name tells apart
        with suppress(OSError):
            fresh.unlink()
        raise


def _is_anothers(target: Path, ours: Ours) -> bool:
    """Whether a saved desktop lies there that replacing would lose.

    That is another one, or what another session made of this one: it went on from our file when we were taken for lost.
    """
    try:
        with os.fdopen(os.open(target, _LOOK), "rb") as file:
            header, digest = saved_format.read_header(file)
        return header.facts.desktop not in ("", ours.desktop) or ours.known not in ("", digest)
    except saved_format.Newer:
        return True
    except (OSError, Damaged):
        return False


def _keep(target: Path) -> Path:
    """Give it another name, too, and return that. Raises OSError."""
    for number in count(2):
        kept = target.with_name(f"{target.stem}-{number}{target.suffix}")
        try:
            os.link(target, kept, follow_symlinks=False)
            return kept
        except FileExistsError:  # of before, or another session's of this moment
            continue
        except OSError:  # not every file system has links
            if not os.path.lexists(kept):
                return target.rename(kept)
    raise AssertionError  # not reached: there is no end of numbers


def write(
    file: BinaryIO,
    opening: Opening,
    parts: Sequence[OpenPart],
    recipients: Sequence[pyrage.x25519.Recipient],
    advance: Callable[[int], None] = lambda _: None,
    passphrase: str = "",
) -> str:
    """Fill the file; `passphrase` says in its header how a key comes of one. Returns the header's digest.

    Raises OSError.
    """
    stream = _Stream(opening, parts, passphrase, advance)
    file.seek(saved_format.HEADER_ROOM)
    with ThreadPoolExecutor(max(len(os.sched_getaffinity(0)), 1)) as pool, ThreadPoolExecutor(1) as in_order:
        plain, onwards = _Reader(stream.frames(pool, in_order)), _Onwards(file)
        try:
            pyrage.encrypt_io(plain, onwards, list(recipients))
        except pyrage.EncryptError:  # has no more than the words of what went wrong
            if trouble := onwards.trouble or plain.trouble:
                raise trouble from None
            raise
    file.seek(0)
    header = stream.header()
    file.write(header)
    return saved_format.digest_of_header(header)


class _Stream:
    """The records of one file, and what they come to."""

    def __init__(
        self, opening: Opening, parts: Sequence[OpenPart], passphrase: str, advance: Callable[[int], None]
    ) -> None:
        self._opening = opening
        self._passphrase = passphrase
        self._parts = parts
        self._advance = advance
        self._done: list[PartFact] = []

    def header(self) -> bytes:
        """The readable header, when all parts are through."""
        return saved_format.pack_header(SavedHeader(self._opening.facts, tuple(self._done), self._passphrase))

    def frames(self, pool: Executor, in_order: Executor) -> Iterator[bytes]:
        """Every record, compressed, in order; `in_order` is one thread, which computes the digests."""
        waiting: deque[tuple[Future[bytes], Future[None]]] = deque()
        for record, digest in self._records(in_order):
            waiting.append((pool.submit(saved_format.compressed, record), in_order.submit(digest.update, record)))
            if len(waiting) > _AHEAD:
                yield _done(*waiting.popleft())
        while waiting:
            yield _done(*waiting.popleft())

    def _records(self, in_order: Executor) -> Iterator[tuple[bytes, hashlib._Hash]]:
        """Each record, and the digest that it belongs to."""
        yield saved_format.OPENING + saved_format.OPENINGS.pack(self._opening), hashlib.sha256()
        for part in self._parts:
            digest, stored = hashlib.sha256(), 0
            for record in chunks.of(part.descriptor, part.number, part.base, part.size, self._advance):
                stored += len(record)
                yield record, digest
            name = saved_format.PARTS[part.number]
            self._done.append(PartFact(name, part.size, stored, in_order.submit(digest.hexdigest).result()))
        closing = Closing(tuple(self._done), saved_format.digest_of_header(self.header()))
        yield saved_format.CLOSING + saved_format.CLOSINGS.pack(closing), hashlib.sha256()


def _done(compressed: Future[bytes], digested: Future[None]) -> bytes:
    digested.result()
    return compressed.result()


class _Onwards:
    """A file that is brought to disk while it is written, so that little is left to wait for at its end."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._written = 0
        self._told = 0
        self.trouble: OSError | None = None
        """Why no more could be written."""

    def write(self, data: bytes) -> int:
        """The next bytes. Raises OSError."""
        try:
            self._written += self._file.write(data)
        except OSError as error:
            self.trouble = error
            raise
        if self._written - self._told >= _BRING:
            # It begins to write what is dirty, waits for nothing, and lets go of what is written (posix_fadvise(2)).
            with suppress(OSError):
                os.posix_fadvise(self._file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            self._told = self._written
        return len(data)

    def flush(self) -> None:
        """At the end."""
        self._file.flush()


class _Reader:
    """What is written, as a file to read from."""

    def __init__(self, frames: Iterable[bytes]) -> None:
        self._frames = iter(frames)
        self._left = memoryview(b"")
        self.trouble: Exception | None = None
        """Why there is no more to read."""

    def read(self, size: int = -1) -> bytes:
        """The next bytes; none at the end."""
        if not self._left:
            try:
                self._left = memoryview(next(self._frames, b""))
            except Exception as error:
                self.trouble = error
                raise
        piece = self._left[: size if size >= 0 else len(self._left)]
        self._left = self._left[len(piece) :]
        return bytes(piece)
