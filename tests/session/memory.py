"""What a process has in its memory: its present pages, read through /proc. Source: proc(5), and pagemap there."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")
_PRESENT = 1 << 63
_BATCH = 4096
"""Pages that are looked up at once."""


def holds(pid: int, words: dict[str, bytes]) -> set[str]:
    """Names of those `words` that stand somewhere in the memory of a process."""
    found: set[str] = set()
    for piece in _pieces(pid):
        found |= {name for name, word in words.items() if word in piece}
    return found


def _pieces(pid: int) -> Iterator[bytes]:
    """Runs of present pages. A word across the border of two mappings is not seen: they are no neighbours."""
    of = Path("/proc") / str(pid)
    with (of / "mem").open("rb", buffering=0) as memory, (of / "pagemap").open("rb") as pages:
        for begin, end in _mappings(pid):
            for at in range(begin, end, _BATCH * _PAGE):
                count = min(_BATCH, (end - at) // _PAGE)
                pages.seek(at // _PAGE * 8)
                yield from _present(memory.fileno(), at, pages.read(8 * count))


def _present(memory: int, at: int, entries: bytes) -> Iterator[bytes]:
    run = bytearray()
    for number, (entry,) in enumerate(struct.iter_unpack("=Q", entries)):
        if entry & _PRESENT:
            run += os.pread(memory, _PAGE, at + number * _PAGE)
        elif run:
            yield bytes(run)
            run.clear()
    if run:
        yield bytes(run)


def _mappings(pid: int) -> Iterator[tuple[int, int]]:
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        span, rights, *_ = line.split(maxsplit=5)
        if "w" in rights and not line.endswith(("[vvar]", "[vsyscall]")):
            begin, end = (int(number, 16) for number in span.split("-"))
            yield begin, end


def file_holds(path: Path, words: dict[str, bytes]) -> set[str]:
    """Names of those `words` that stand somewhere in a file; its holes are skipped."""
    found: set[str] = set()
    overlap = max(map(len, words.values()))
    descriptor = os.open(path, os.O_RDONLY)
    try:
        size, at = os.fstat(descriptor).st_size, 0
        while at < size:
            try:
                at = os.lseek(descriptor, at, os.SEEK_DATA)
            except OSError:  # nothing but a hole is left
                break
            piece = os.pread(descriptor, 8 << 20, at)
            found |= {name for name, word in words.items() if word in piece}
            at += max(len(piece) - overlap, 1)
    finally:
        os.close(descriptor)
    return found
