"""What an encrypted session has instead of files: memory with a descriptor, which the machine inside fills.

Nothing of it has a name on any file system, and it is gone with the last process that holds it, however that ends
(memfd_create(2)). The machine's memory itself is among it: a process of ours that writes a saved desktop reads it
there, so that suspending takes no second copy.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from ...wire import shared_files
from ...wire.plan import Plan
from ..saved.messages import InMemory

Held = Mapping[str, io.FileIO]
"""By the names of `shared_files.IN_MEMORY`."""


@contextmanager
def made(plan: Plan) -> Iterator[Held]:
    """What this session has of it, as long as this lasts; none of it where it is not encrypted. Raises OSError."""
    with ExitStack() as held:
        files: dict[str, io.FileIO] = {}
        for path in shared_files.IN_MEMORY if plan.encrypted else ():
            descriptor = os.memfd_create(f"7lbd-{path}", os.MFD_CLOEXEC)
            files[str(path)] = held.enter_context(io.FileIO(descriptor, "r+"))
        if files:
            os.ftruncate(files[str(shared_files.MEMORY)].fileno(), plan.guest.memory)
        yield files


def told(held: Held) -> InMemory | None:
    """Which is which, for a process that inherits it."""
    if not held:
        return None
    memory, state, variables = (held[str(path)].fileno() for path in shared_files.IN_MEMORY)
    return InMemory(memory, state, variables)
