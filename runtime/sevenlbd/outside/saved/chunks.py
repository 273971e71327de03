"""What a file of the session's holds: its pages that are not zero and not as in the image's warm memory, as records.

A record is a kind, the part's number, a count, so many runs (offset, length), and for data the bytes of all runs.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ...base.errors import ExitCode, Refusal
from .saved_format import DATA, MOST_DATA, PARTS, SAME, Damaged

PAGE = 4096
"""Bytes: of guest memory (x86), and of what the overlay copies at least (outside/session/overlay_disk.py)."""
_BLOCK = 1 << 20  # bytes that are read and compared at once
_MOST_RUNS = 1 << 15  # runs of a record: half a MiB of them
_HEAD = struct.Struct("<cBI")
_RUN = struct.Struct("<QQ")
_ZEROES = bytes(_BLOCK)
_ZERO_PAGE = bytes(PAGE)

Run = tuple[int, int]
Advance = Callable[[int], None]


@dataclass(frozen=True)
class Base:
    """The image's warm memory, and where in a part it begins."""

    descriptor: int
    at: int
    size: int

    def block(self, offset: int, length: int) -> bytes:
        """What it has where the part has `offset`; shorter or nothing where there is none."""
        if offset < self.at or offset >= self.at + self.size:
            return b""
        return os.pread(self.descriptor, min(length, self.at + self.size - offset), offset - self.at)


@dataclass(frozen=True)
class Chunk:
    """A record of a part, unpacked."""

    kind: bytes
    part: int
    runs: tuple[Run, ...]
    data: memoryview


def pack(kind: bytes, part: int, runs: Sequence[Run], *data: bytes | memoryview) -> bytes:
    """A record in bytes."""
    return b"".join((_HEAD.pack(kind, part, len(runs)), *(_RUN.pack(*run) for run in runs), *data))


def unpack(record: bytes) -> Chunk:
    """The chunk that a record holds. Raises Damaged."""
    if len(record) < _HEAD.size:
        raise Damaged("a record in it has no head")
    kind, part, count = _HEAD.unpack_from(record)
    end = _HEAD.size + count * _RUN.size
    if kind not in (DATA, SAME) or count > _MOST_RUNS or end > len(record):
        raise Damaged("a record in it makes no sense")
    runs = tuple(_RUN.iter_unpack(record[_HEAD.size : end]))
    data = memoryview(record)[end:]
    if (sum(length for _, length in runs) if kind == DATA else 0) != len(data):
        raise Damaged("a record in it has not the bytes that it speaks of")
    return Chunk(kind, part, runs, data)


class Gathering:
    """Puts pages together to records of one part."""

    def __init__(self, part: int) -> None:
        self._part = part
        self._data: list[memoryview | bytes] = []
        self._size = 0
        self._runs: list[Run] = []
        self._same: list[Run] = []

    def put(self, at: int, content: memoryview | bytes) -> Iterator[bytes]:
        """Bytes that are the session's own."""
        if self._size + len(content) > MOST_DATA or len(self._runs) >= _MOST_RUNS:
            yield from self._flush_data()
        _extend(self._runs, at, len(content))
        self._data.append(content)
        self._size += len(content)

    def same(self, at: int, length: int) -> Iterator[bytes]:
        """Bytes that are as in the base."""
        if len(self._same) >= _MOST_RUNS:
            yield from self._flush_same()
        _extend(self._same, at, length)

    def rest(self) -> Iterator[bytes]:
        """What is not yet a record."""
        yield from self._flush_data()
        yield from self._flush_same()

    def _flush_data(self) -> Iterator[bytes]:
        if self._runs:
            yield pack(DATA, self._part, self._runs, *self._data)
            self._data, self._size, self._runs = [], 0, []

    def _flush_same(self) -> Iterator[bytes]:
        if self._same:
            yield pack(SAME, self._part, self._same)
            self._same = []


def _extend(runs: list[Run], at: int, length: int) -> None:
    if runs and runs[-1][0] + runs[-1][1] == at:
        runs[-1] = (runs[-1][0], runs[-1][1] + length)
    else:
        runs.append((at, length))


def of(descriptor: int, part: int, base: Base | None, size: int, advance: Advance = lambda _: None) -> Iterator[bytes]:
    """The records of an open file's first `size` bytes. `advance` hears of every further piece that was looked at.

    Raises OSError, and Refusal when the file became shorter meanwhile: what is missing would be taken for zeroes.
    """
    gathering = Gathering(part)
    for begin, end in extents(descriptor, size):
        for at in range(begin, end, _BLOCK):
            block = os.pread(descriptor, min(_BLOCK, end - at), at)
            yield from _sorted(gathering, at, block, base)
            advance(len(block))
    if os.fstat(descriptor).st_size < size:
        what = f"the session's {PARTS[part]} became shorter while it was read"
        raise Refusal(ExitCode.BROKE, what, hint="try again")
    yield from gathering.rest()


def _sorted(gathering: Gathering, at: int, block: bytes, base: Base | None) -> Iterator[bytes]:
    """Whole blocks that are zero or as in the base cost one comparison; of others, each page is looked at."""
    if block == _ZEROES[: len(block)]:
        return
    before = base.block(at, len(block)) if base else b""
    if before == block:
        yield from gathering.same(at, len(block))
        return
    whole = memoryview(block)
    for kind, begin, end in _spans(block, before):
        if kind == DATA:
            yield from gathering.put(at + begin, whole[begin:end])
        else:
            yield from gathering.same(at + begin, end - begin)


def _spans(block: bytes, before: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, begin and end of the spans of pages in a block that are of one kind; what is zero is of none."""
    kind, begin = b"", 0
    for offset in range(0, len(block), PAGE):
        # Compared in place: most pages differ in their first bytes, and none is copied but to be compared.
        if block.startswith(_ZERO_PAGE, offset) or (len(block) - offset < PAGE and not any(block[offset:])):
            now = b""
        elif len(before) >= offset + PAGE and block.startswith(before[offset : offset + PAGE], offset):
            now = SAME
        else:
            now = DATA
        if now != kind:
            if kind:
                yield kind, begin, offset
            kind, begin = now, offset
    if kind:
        yield kind, begin, len(block)


def extents(descriptor: int, size: int) -> Iterator[Run]:
    """Begin and end of what is no hole in the first `size` bytes, in whole pages; one where holes are not known."""
    at = 0
    while at < size:
        try:
            begin = os.lseek(descriptor, at, os.SEEK_DATA)
        except OSError:  # ENXIO: nothing but a hole is left
            return
        begin = max(begin // PAGE * PAGE, at)
        if begin >= size:
            return
        end = min(-(-os.lseek(descriptor, begin, os.SEEK_HOLE) // PAGE) * PAGE, size)
        yield begin, end
        at = end
