"""The process that writes a saved desktop: python -I -m sevenlbd.outside.saved.writer FD.

It has the public half of the user's key, never the secret one. What it reads of the session's was written inside: plain
files, bounded, and never understood, but for one number that says where the guest's memory begins.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from ...base import foreign_files
from ...base.errors import ExitCode, Refusal
from ...base.paths import is_folder
from ...images.signing.digest import Changed
from ...wire import shared_files
from . import abroad, chunks, keys, layers, places, saved_format, worker, writing
from .chunks import Base
from .facts import Facts, LayerFact, Opening
from .messages import AllRead, Commit, Go, LayerFile, SetAside, Write, WriterReady
from .worker import Counter, Supervisor
from .writing import OpenPart

# QEMU, migration/ram.c: name and length of a block, then MappedRamHeader: version, page size, offsets of bitmap, pages.
_BLOCK_NAME = b"\x03ram"
_BLOCK = struct.Struct(">QIQQQ")
_LOOKED_AT = 16 << 10  # bytes; the first block is the largest, and is described within the first KiB


def main(supervisor: Supervisor) -> int:
    """Prepare while the session runs, wait for the word, write, wait for the word that it may stay.

    Returns the file's size.
    """
    order = supervisor.order()
    assert isinstance(order, Write), "the first order is to write"
    target = Path(order.target)
    _check_place(target)
    facts, recipients = _facts(order), _recipients(order)
    places.remove_interrupted(target.parent)
    ours = writing.Ours(facts.desktop, order.known)
    folder = Path(order.keys) if order.keys else None
    with (
        abroad.noted(folder, target.parent),
        writing.new_file(target, ours, lambda path: supervisor.tell(SetAside(str(path)))) as file,
    ):
        supervisor.tell(WriterReady())
        _wait_for(supervisor, Go)
        with _parts(order) as (parts, memory_at, total):
            whole = replace(facts, memory_at=memory_at, saved_at=time.time())
            counter = Counter(supervisor, total)
            how = order.lock.how if order.lock else ""
            digest = writing.write(file, Opening(whole, order.secrets), parts, recipients, counter.advance, how)
        supervisor.tell(AllRead(digest))
        # One who is gone has let the machine run again, perhaps while it was read.
        _wait_for(supervisor, Commit)
        return os.fstat(file.fileno()).st_size


def _wait_for(supervisor: Supervisor, word: type[Go | Commit]) -> None:
    """Raises SystemExit when another order comes, or none any more."""
    if not isinstance(supervisor.order(), word):
        raise SystemExit(ExitCode.OK)


def _check_place(target: Path) -> None:
    """Raises Refusal."""
    if not is_folder(target.parent):
        raise Refusal(ExitCode.USAGE, f"{target.parent}: is no folder to write to", hint="make it, or choose another")
    if target.exists(follow_symlinks=False) and (target.is_symlink() or not target.is_file()):
        raise Refusal(ExitCode.USAGE, f"{target}: is there, and is no plain file", hint="choose another name")
    if target.exists() and not saved_format.looks_saved(target):
        what = f"{target}: is there, and is no saved desktop, so it is not replaced"
        raise Refusal(ExitCode.USAGE, what, hint="choose another name")


def _facts(order: Write) -> Facts:
    """With the digests of what it stands on, which takes time when they are not known. Raises Refusal."""
    known = Path(order.keys) if order.keys else None

    def fact(file: LayerFile) -> LayerFact:
        try:
            return layers.fact(Path(file.path), file.name, file.format, known)
        except Changed as error:
            raise Refusal(ExitCode.IMAGE, f"{file.path}: {error}", hint="let whoever changes it end") from None

    memory = fact(order.memory) if order.memory else None
    return replace(order.facts, layers=tuple(map(fact, order.layers)), memory=memory)


def _recipients(order: Write) -> Sequence[keys.Recipient]:
    if order.lock:
        return keys.recipients([order.lock.recipient])
    texts = list(order.recipients)
    if order.keys:
        texts.append(keys.own(places.made(Path(order.keys))))
    return keys.recipients(texts)


@contextmanager
def _parts(order: Write) -> Iterator[tuple[list[OpenPart], int, int]]:
    """The session's files, open; where the memory begins in its state; and how many bytes will be looked at."""
    folder, overlay = Path(order.folder), Path(order.overlay)
    with ExitStack() as stack:
        disk = stack.enter_context(foreign_files.opened(overlay.parent, overlay.name))
        if held := order.in_memory:
            state, variables, at = held.state, held.variables, 0
        else:
            state = stack.enter_context(foreign_files.opened(folder, shared_files.STATE))
            variables = stack.enter_context(foreign_files.opened(folder, shared_files.VARIABLES))
            at = memory_at(state, order.facts.machine.memory)
        base = None
        if order.memory and not order.memory.sealed and (at or held):
            descriptor = os.open(order.memory.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            stack.callback(os.close, descriptor)
            base = Base(descriptor, at, order.facts.machine.memory)
        parts = [writing.open_part(0, disk), writing.open_part(1, state, None if held else base)]
        if order.facts.machine.firmware != "bios":
            parts.append(writing.open_part(2, variables))
        if held:
            parts.append(writing.open_part(saved_format.MEMORY_PART, held.memory, base))
        _check_sizes(order, parts)
        total = sum(end - begin for part in parts for begin, end in chunks.extents(part.descriptor, part.size))
        yield parts, at if base else 0, total


def _check_sizes(order: Write, parts: Sequence[OpenPart]) -> None:
    """Nobody inside makes a file that no such machine has. Raises Refusal."""
    most = saved_format.most_of_parts(order.facts.machine, encrypted=order.in_memory is not None)
    for part in parts:
        if part.size > most[part.number]:
            what = f"the session's {saved_format.PARTS[part.number]} is longer than that of any such machine"
            raise Refusal(ExitCode.BROKE, what, hint="the session may have been taken over: 7lbd stop")


def memory_at(state: int, size: int) -> int:
    """Where in QEMU's stream the pages of the machine's memory are; 0 when that is not to be seen.

    A hint only: were it wrong, the file would be larger.
    """
    head = os.pread(state, _LOOKED_AT, 0)
    at = head.find(_BLOCK_NAME)
    while at >= 0 and at + len(_BLOCK_NAME) + _BLOCK.size <= len(head):
        length, version, page, _, pages = _BLOCK.unpack_from(head, at + len(_BLOCK_NAME))
        if (length, version, page) == (size, 1, chunks.PAGE) and pages % chunks.PAGE == 0:
            return int(pages)
        at = head.find(_BLOCK_NAME, at + 1)
    return 0


if __name__ == "__main__":
    worker.run(main)
