"""Runs inside the SIF, by its Python: a saved desktop is written again, without a session.

python -m tests.bench.saved_stand SAVED MEMORY FOLDER

Puts the files of the session that it was back into FOLDER, and beside them `flat`, all their bytes that are no hole;
prints how many. Then, for each line that it is sent, writes the saved desktop, brings it to disk, and prints how long
that took.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from sevenlbd.outside.saved import chunks, keys, reading, saved_format, writer, writing
from sevenlbd.outside.saved.chunks import Base
from sevenlbd.outside.saved.facts import Opening
from sevenlbd.outside.saved.writing import OpenPart

_BLOCK = 1 << 20


def main(saved: Path, memory: Path, folder: Path) -> None:
    """Restore, then write as often as it is asked to."""
    opening, _ = reading.opening(saved, keys.identity(saved.parent))
    most = saved_format.most_of_parts(opening.facts.machine)
    with ExitStack() as stack:
        descriptors = [_opened(stack, folder / name) for name in saved_format.PARTS[: saved_format.MEMORY_PART]]
        base = os.open(memory, os.O_RDONLY | os.O_CLOEXEC)
        targets = {number: reading.RestoreTarget(file, most[number]) for number, file in enumerate(descriptors)}
        told = reading.read(saved, keys.identity(saved.parent), reading.Restore(opening.facts, targets, base))
        for part, descriptor in zip(told.parts, descriptors, strict=True):
            os.ftruncate(descriptor, part.size)
        at = writer.memory_at(descriptors[1], opening.facts.machine.memory)
        bases = {1: Base(base, at, opening.facts.machine.memory)}
        parts = [writing.open_part(number, file, bases.get(number)) for number, file in enumerate(descriptors)]
        print(json.dumps({"bytes": _flattened(parts, folder / "flat")}), flush=True)
        for _ in sys.stdin:
            with _timed():
                _write(opening, parts, folder / "again.7lbd", keys.recipients([keys.own(saved.parent)]))


def _opened(stack: ExitStack, path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    stack.callback(os.close, descriptor)
    return descriptor


def _flattened(parts: list[OpenPart], target: Path) -> int:
    with target.open("wb") as file:
        for part in parts:
            for begin, end in chunks.extents(part.descriptor, part.size):
                for at in range(begin, end, _BLOCK):
                    file.write(os.pread(part.descriptor, min(_BLOCK, end - at), at))
        file.flush()
        os.fsync(file.fileno())
        return file.tell()


def _write(opening: Opening, parts: list[OpenPart], target: Path, recipients: list[keys.Recipient]) -> None:
    with writing.new_file(target) as file:
        writing.write(file, opening, parts, recipients)


@contextmanager
def _timed() -> Iterator[None]:
    began = time.monotonic()
    yield
    print(json.dumps({"seconds": time.monotonic() - began}), flush=True)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
