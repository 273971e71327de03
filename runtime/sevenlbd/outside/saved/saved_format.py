"""The file `NAME.7lbd`, byte by byte: docs/saved-format.md has it for people.

A header that anybody can read, in a room of fixed size, because it is written last; then one age file (age-encryption,
v1), in which there are records, each a zstd frame (RFC 8878) with its length in front. Whatever is read here may have
been made by an enemy: every length has a limit, and nothing names a path.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import zstandard

from ...wire import shared_files
from ...wire.codec import Codec, Malformed
from .facts import Closing, MachineFacts, Opening, SavedHeader

FORMAT = 2  # docs/saved-format.md
_PLAIN_FORMAT = 1  # what has no memory as a part of its own is written as ever: older ones read it
MAGIC = b"7lbd saved desktop, format "
"""What the file begins with; then comes the number."""
BEGINNINGS = [f"{MAGIC.decode()}{number}" for number in range(_PLAIN_FORMAT, FORMAT + 1)]
"""The first line of what is read here, for who only looks whether it is such a file."""
HEADER_ROOM = 32 << 10
"""Bytes; a header has two or three KiB, most of it the CPU's flags."""
OPENING, DATA, SAME, CLOSING = b"O", b"D", b"S", b"C"
"""How a record begins: the facts; bytes of a part; what is as in the image's warm memory; the parts."""
PARTS = tuple(map(str, (shared_files.OVERLAY, shared_files.STATE, shared_files.VARIABLES, shared_files.MEMORY)))
"""The parts, by their number: files that both sides touch. A session that was encrypted has its memory as one of them,
and its disk as it lay there, encrypted; others have the memory in the state."""
MEMORY_PART = PARTS.index(str(shared_files.MEMORY))
MOST_DISK_MORE = 64 << 20  # bytes beside a sixteenth: as of any overlay (outside/session/overlay_disk.py)
MOST_STATE_MORE = 1 << 30  # bytes beside the memory: devices have some, and the largest screen 256 MiB
MOST_VARIABLES = 16 << 20  # bytes, as of a machine that is kept (docs/theory.md)
_MOST_NUMBER = 1 << 50  # bytes; a disk or a memory of a PiB
MOST_DATA = 1 << 20
"""Bytes of a part in one record, as they are on disk; a guess between what threads share and what memory costs."""
_MOST_RECORD = MOST_DATA + (1 << 20)  # with its list of runs
LENGTH = struct.Struct("<I")
HEADERS: Codec[SavedHeader] = Codec(SavedHeader)
OPENINGS: Codec[Opening] = Codec(Opening)
CLOSINGS: Codec[Closing] = Codec(Closing)
_LEVEL = 1  # of zstd; two or three take twice the time for a twentieth less


class Damaged(Exception):
    """This is no whole saved desktop; the text says why."""


class Newer(Damaged):
    """It may be whole, for those who know its format."""


def most_of_parts(machine: MachineFacts, *, encrypted: bool = False) -> tuple[int, ...]:
    """How long each part of this machine's can be, in bytes."""
    disk = machine.disk_size + machine.disk_size // 16 + MOST_DISK_MORE
    state = MOST_STATE_MORE if encrypted else machine.memory + MOST_STATE_MORE
    return (disk, state, MOST_VARIABLES, machine.memory if encrypted else 0)


def looks_saved(path: Path) -> bool:
    """Whether a file begins as a saved desktop does. Raises OSError.

    Its folder may be anybody's, who puts a link or a pipe there just now.
    """
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        return stat.S_ISREG(os.fstat(file.fileno()).st_mode) and file.read(len(MAGIC)) == MAGIC


def pack_header(header: SavedHeader) -> bytes:
    """The header, filled up to its room."""
    has_memory = any(part.name == PARTS[MEMORY_PART] for part in header.parts)
    number = FORMAT if has_memory else _PLAIN_FORMAT
    text = MAGIC + str(number).encode() + b"\n" + HEADERS.pack(header)
    if len(text) >= HEADER_ROOM:
        raise Damaged("its header is too long")
    return text.ljust(HEADER_ROOM - 1) + b"\n"


def digest_of_header(packed: bytes) -> str:
    """What stands inside of it."""
    return hashlib.sha256(packed).hexdigest()


def read_header(file: BinaryIO) -> tuple[SavedHeader, str]:
    """The header of an open file, which then stands at the age file, and its digest.

    Raises Damaged, and of it Newer for a newer format.
    """
    raw = file.read(HEADER_ROOM)
    line, _, text = raw.partition(b"\n")
    number = line.removeprefix(MAGIC)
    if not line.startswith(MAGIC) or not number.isdigit() or len(number) > 4:
        raise Damaged("it does not begin as a saved desktop does")
    if int(number) > FORMAT:
        raise Newer(f"is of format {int(number)}, and this 7lbd knows {FORMAT}")
    if len(raw) < HEADER_ROOM:
        raise Damaged("it is truncated in its header")
    try:
        header = HEADERS.unpack(text)
    except Malformed as error:
        raise Damaged(f"its header cannot be read: {error}") from None
    if not all(0 <= number < _MOST_NUMBER for number in _numbers(header)):
        raise Damaged("its header speaks of sizes that there are not")
    return header, digest_of_header(raw)


def _numbers(header: SavedHeader) -> Iterator[int]:
    facts, machine = header.facts, header.facts.machine
    yield from (machine.cpus, machine.memory, machine.disk_size, machine.logical_block_size, facts.memory_at)
    yield from (layer.size for layer in (*facts.layers, *([facts.memory] if facts.memory else [])))
    yield from (number for part in header.parts for number in (part.size, part.stored))


def compressed(record: bytes) -> bytes:
    """A record as it is stored. Any thread may do this."""
    frame = zstandard.ZstdCompressor(level=_LEVEL).compress(record)
    return LENGTH.pack(len(frame)) + frame


class Frames:
    """Takes the bytes of the decrypted stream as they come, and gives the compressed records that they make up."""

    def __init__(self) -> None:
        self._waiting: list[bytes] = []
        self._size = 0
        self._wanted = LENGTH.size
        """Bytes without which nothing is whole."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The frames that are whole now. Raises Damaged."""
        self._waiting.append(data)
        self._size += len(data)
        if self._size < self._wanted:
            return
        whole, at = b"".join(self._waiting), 0
        self._wanted = LENGTH.size
        while len(whole) - at >= LENGTH.size:
            (length,) = LENGTH.unpack_from(whole, at)
            if not 0 < length <= 2 * _MOST_RECORD:
                raise Damaged("a record in it is longer than any that is written")
            self._wanted = LENGTH.size + length
            if len(whole) - at < self._wanted:
                break
            yield whole[at + LENGTH.size : at + self._wanted]
            at, self._wanted = at + self._wanted, LENGTH.size
        self._waiting, self._size = [whole[at:]], len(whole) - at

    def finish(self) -> None:
        """Raises Damaged when something is left over."""
        if self._size:
            raise Damaged("it ends inside a record")


def unpacked(frame: bytes) -> bytes:
    """The record that a frame holds. Raises Damaged."""
    try:
        size = zstandard.get_frame_parameters(frame).content_size
        if not 0 < size <= _MOST_RECORD:
            raise Damaged("a record in it says that it is larger than any that is written")
        return zstandard.ZstdDecompressor().decompress(frame, max_output_size=_MOST_RECORD)
    except zstandard.ZstdError as error:
        raise Damaged(f"a record in it cannot be unpacked: {error}") from None
