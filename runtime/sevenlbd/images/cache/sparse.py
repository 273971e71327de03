"""Files with holes: where their data is, how a copy keeps the holes, and how it gets to the disk for good.

A file system tells of its holes by lseek(2) with SEEK_DATA and SEEK_HOLE; one that does not has data everywhere.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BLOCK = 4096
"""Zeroes are looked for in pieces of a file system's usual block."""
_ZEROES = bytes(BLOCK)


@contextmanager
def opened(path: Path, flags: int = os.O_RDONLY) -> Iterator[int]:
    """A file's descriptor; never through a symbolic link in the path's last place. Raises OSError."""
    descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def write(descriptor: int, data: memoryview | None, at: int, length: int) -> None:
    """Put a piece in its place. Zeroes are not written where there is a hole already."""
    was = list(extents(descriptor, at, at + length))
    for start, end, zero in _runs(data, length):
        if not zero and data:
            _write_all(descriptor, data[start:end], at + start)
            continue
        for old_start, old_end in was:
            low, high = max(old_start, at + start), min(old_end, at + end)
            if low < high:
                _write_all(descriptor, memoryview(bytes(high - low)), low)


def _runs(data: memoryview | None, length: int) -> Iterator[tuple[int, int, bool]]:
    """The piece in runs that are nothing but zeroes and runs that are not: start, end, which."""
    if data is None:
        yield 0, length, True
        return
    start, zero = 0, False
    for at in range(0, length, BLOCK):
        block = bytes(data[at : at + BLOCK])
        blank = block == _ZEROES[: len(block)]
        if blank is not zero and at > start:
            yield start, at, zero
            start = at
        zero = blank
    if length > start:
        yield start, length, zero


def _write_all(descriptor: int, data: memoryview, at: int) -> None:
    done = 0
    while done < len(data):
        done += os.pwrite(descriptor, data[done:], at + done)


def extents(descriptor: int, at: int, end: int) -> Iterator[tuple[int, int]]:
    """Where there is data between `at` and `end`; all of it, when the file system tells of no holes."""
    while at < end:
        try:
            start = os.lseek(descriptor, at, os.SEEK_DATA)
            stop = os.lseek(descriptor, start, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise
            start, stop = at, end
        if start >= end:
            return
        yield start, min(stop, end)
        at = stop
