"""An image that is in use is locked, so that nobody changes it below a running desktop."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from ..errors import ExitCode, Refusal


@contextmanager
def in_use(layers: Iterable[str]) -> Iterator[None]:
    """Hold a shared lock (flock(2)) on every layer of a disk: whoever wants to change one can see that it is in use."""
    held: list[int] = []
    try:
        for layer in layers:
            descriptor = os.open(layer, os.O_RDONLY | os.O_CLOEXEC)
            held.append(descriptor)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Refusal(
                    ExitCode.IMAGE,
                    f"{layer}: somebody is changing it: it is locked exclusively",
                    hint="wait until that has ended, or use another version",
                ) from None
            except OSError:
                # A file system without locks: nothing to tell, and nothing to fear from it.
                continue
        yield
    finally:
        for descriptor in held:
            os.close(descriptor)
