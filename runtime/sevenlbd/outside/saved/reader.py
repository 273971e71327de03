"""The process that takes a saved desktop apart: python -I -m sevenlbd.outside.saved.reader FD.

It fills files of a session's folder in which no guest is yet. It alone has the user's secret key, for that long.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pyrage

from ...images import qcow2
from ...wire import shared_files
from . import keys, reading, saved_format, worker
from .facts import SavedHeader
from .messages import Read
from .reading import Restore, RestoreTarget
from .saved_format import Damaged
from .worker import Counter, Supervisor


def main(supervisor: Supervisor) -> int:
    """Fill the files. Returns the size of what was read."""
    order = supervisor.order()
    assert isinstance(order, Read), "the order is to read"
    source = Path(order.source)
    size = source.stat().st_size
    counter = Counter(supervisor, size)
    with ExitStack() as stack:
        targets: dict[int, RestoreTarget] = {}
        for number, most in enumerate(order.most):
            if most:
                targets[number] = RestoreTarget(_target(stack, order, saved_format.PARTS[number]), most)
        base = None
        if order.memory:
            base = os.open(order.memory, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            stack.callback(os.close, base)
        sink = Restore(order.facts, targets, base)
        with _naming(order.folder):
            told = reading.read(source, _identity(order), sink, counter.advance, order.digest)
            _finish(told, targets)
        disk = Path(order.folder) / shared_files.OVERLAY
        _check_disk(disk, order.facts.machine.disk_size, encrypted=order.in_memory is not None)
    return size


@contextmanager
def _naming(folder: str) -> Iterator[None]:
    """A full disk is told by the folder that has no room; a descriptor has no name."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or folder
        raise


def _target(stack: ExitStack, order: Read, name: str) -> int:
    """The descriptor that a part goes to: a file's, or that of memory which stands for it. Raises OSError."""
    held = order.in_memory
    if held:
        names = map(str, shared_files.IN_MEMORY)
        for in_memory, descriptor in zip(names, held.numbers(), strict=True):
            if name == in_memory:
                return descriptor
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(Path(order.folder) / name, flags, 0o600)
    stack.callback(os.close, descriptor)
    return descriptor


def _identity(order: Read) -> pyrage.x25519.Identity:
    """Raises Refusal."""
    return pyrage.x25519.Identity.from_str(order.identity) if order.identity else keys.identity(Path(order.keys))


def _finish(header: SavedHeader, targets: Mapping[int, RestoreTarget]) -> None:
    """Give each file its length: what it ends with may be zeroes. Raises Damaged, OSError."""
    for part in header.parts:
        number = saved_format.PARTS.index(part.name) if part.name in saved_format.PARTS else -1
        if number not in targets or not 0 <= part.size <= targets[number].most:
            raise Damaged("it has a part that this machine has not")
        if os.fstat(targets[number].descriptor).st_size > part.size:
            raise Damaged("a part of it is longer than it says")
        os.ftruncate(targets[number].descriptor, part.size)


def _check_disk(path: Path, size: int, *, encrypted: bool) -> None:
    """A header can name files that QEMU opens: an overlay of ours names none, and has the disk's size. Raises Damaged.

    QEMU is told what lies below by name and would follow none; but whoever opens it otherwise would.
    """
    try:
        found = qcow2.read(path, encrypted=encrypted)
    except qcow2.HeaderError as error:
        raise Damaged(f"its disk is not to be trusted with: {error}") from None
    if found.backing_file or found.backing_format:
        raise Damaged("its disk is not to be trusted with: it names a file that it stands on")
    if found.size != size:
        raise Damaged(f"its disk is not to be trusted with: it has {found.size} bytes, and the machine's {size}")


if __name__ == "__main__":
    worker.run(main)
