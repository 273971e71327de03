"""SHA-256 over files: plain for small ones, a hash tree over large ones, so that a part can be checked alone.

The tree is the Merkle tree of RFC 9162, section 2.1.1: a leaf is the hash of 0x00 and up to 4 MiB of the file, a
node that of 0x01 and its two children; the prefixes keep a leaf from being passed off as a node. Its leaves are
counted from the file's size, so the root together with the size says everything. Leaves need not come in order:
they are hashed by several threads. A hole of a sparse file is a leaf of zeroes, told by SEEK_DATA and not read.
"""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

CHUNK = 4 << 20  # bytes; docs/repository.md: signed trees are made of them
LENGTH = hashlib.sha256().digest_size
_MOST_THREADS = 8  # a guess: with more the disk, or the file server, is what is waited for

Report = Callable[[int], None]
"""Hears of every further piece that is done, in bytes; in the thread that asked."""


class Changed(Exception):
    """The file is not as long as it was said to be: somebody is at it."""


def leaf(data: bytes | bytearray | memoryview) -> bytes:
    """The hash of one chunk's content."""
    digest = hashlib.sha256(b"\0")
    digest.update(data)
    return digest.digest()


@cache
def zero_leaf(length: int) -> bytes:
    """The hash of a chunk of zeroes."""
    return leaf(bytes(length))


def root(leaves: Sequence[bytes]) -> bytes:
    """The hash at the tree's top. An empty file's is the hash of nothing, as the RFC says."""
    if not leaves:
        return hashlib.sha256().digest()
    row = list(leaves)
    # Pairs from the left, an odd one goes up as it is: the same as the RFC's largest power of two below the count.
    while len(row) > 1:
        pairs = [hashlib.sha256(b"\1" + row[at] + row[at + 1]).digest() for at in range(0, len(row) - 1, 2)]
        row = pairs + row[len(pairs) * 2 :]
    return row[0]


def count(size: int) -> int:
    """How many chunks a file of `size` bytes has."""
    return -(-size // CHUNK)


def length(size: int, index: int) -> int:
    """How many bytes the chunk `index` of such a file has."""
    return min(CHUNK, size - index * CHUNK)


def plain(path: Path, size: int) -> bytes:
    """SHA-256 of a file of no more than one chunk, as sha256sum(1) has it. Raises OSError, Changed."""
    with _opened(path) as descriptor:
        content = _read(descriptor, memoryview(bytearray(size)), 0)
        _check_size(descriptor, size)
        return hashlib.sha256(content).digest()


def leaves(path: Path, size: int, report: Report = lambda _: None) -> list[bytes]:
    """The hashes of all chunks of the file at `path`. Raises OSError, Changed."""
    # Not for a start that finds everything known: loading it takes most of that time.
    from concurrent.futures import ThreadPoolExecutor

    with _opened(path) as descriptor:
        hashes: list[bytes] = []
        buffers = threading.local()

        def one(index: int) -> bytes:
            if not hasattr(buffers, "chunk"):
                buffers.chunk = bytearray(CHUNK)
            return _leaf_of(descriptor, size, index, buffers.chunk)

        pool = ThreadPoolExecutor(min(_MOST_THREADS, len(os.sched_getaffinity(0))))
        try:
            for index, hashed in enumerate(pool.map(one, range(count(size)))):
                hashes.append(hashed)
                report(length(size, index))
        finally:
            pool.shutdown(cancel_futures=True)
        _check_size(descriptor, size)
        return hashes


def leaf_of(path: Path, size: int, index: int) -> bytes:
    """The hash of one chunk of the file at `path`, without a look at the others. Raises OSError, Changed."""
    with _opened(path) as descriptor:
        return _leaf_of(descriptor, size, index, bytearray(CHUNK))


def _leaf_of(descriptor: int, size: int, index: int, buffer: bytearray) -> bytes:
    at, span = index * CHUNK, length(size, index)
    if _is_hole(descriptor, at, span):
        return zero_leaf(span)
    return leaf(_read(descriptor, memoryview(buffer)[:span], at))


def _is_hole(descriptor: int, at: int, span: int) -> bool:
    """Whether nothing but a hole is there; a file system that does not know has none."""
    try:
        return os.lseek(descriptor, at, os.SEEK_DATA) >= at + span
    except OSError as error:
        # No data up to the end of the file; a file that became shorter is found by its size.
        return error.errno == errno.ENXIO and os.fstat(descriptor).st_size >= at + span


def _read(descriptor: int, buffer: memoryview, at: int) -> memoryview:
    """Fill `buffer` from the file."""
    done = 0
    while done < len(buffer):
        got = os.preadv(descriptor, [buffer[done:]], at + done)
        if not got:
            raise Changed("it is shorter than it was")
        done += got
    return buffer


def _check_size(descriptor: int, size: int) -> None:
    if os.fstat(descriptor).st_size != size:
        raise Changed("its size is another than it was")


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """A file for reading, never through a symbolic link in its last place."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def split(packed: bytes) -> Iterator[bytes]:
    """The hashes in a row of them."""
    for at in range(0, len(packed), LENGTH):
        yield packed[at : at + LENGTH]
