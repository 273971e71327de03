"""An image that is in use is locked, so that nobody changes it below a running desktop."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ..base.errors import ExitCode, Refusal

Identity = tuple[int, int, int, int, int]
"""Device, inode, size, mtime and ctime: a file that was written to, or replaced, has another, utime(2) or not."""
UNSEEN: Identity = (0, 0, 0, 0, 0)  # no file has the inode 0
# Who only looks whether a file is in use holds it exclusively for a moment.
_PATIENCE = 0.3
_PAUSE = 0.02  # seconds; a dozen looks in that time


def identity(status: os.stat_result) -> Identity:
    """Which file it is, and which content."""
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@contextmanager
def in_use(layers: Iterable[str], identities: Mapping[str, Identity] | None = None) -> Iterator[None]:
    """Hold a shared lock (flock(2)) on every layer of a disk: whoever wants to change one can see that it is in use.

    Raises Refusal when somebody changes one, or when its identity is no more the one in `identities`.
    """
    held: list[int] = []
    try:
        for layer in layers:
            descriptor = _opened(layer)
            held.append(descriptor)
            _share(descriptor, layer)
            if identities and identities.get(layer, UNSEEN) not in (UNSEEN, identity(os.fstat(descriptor))):
                raise _replaced(layer, "was replaced or written to")
        yield
    finally:
        for descriptor in held:
            os.close(descriptor)


def check_unchanged(identities: Mapping[str, Identity]) -> None:
    """Raises Refusal when another file lies where one of those with these `identities` did."""
    for path, known in identities.items():
        try:
            now = identity(Path(path).stat())
        except OSError:
            now = UNSEEN
        if now != known:
            raise _replaced(path, "was replaced, removed or written to")


def _opened(layer: str) -> int:
    try:
        return os.open(layer, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise _replaced(layer, "was removed") from None


def _share(descriptor: int, layer: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise Refusal(
                    ExitCode.IMAGE,
                    f"{layer}: somebody is changing it: it is locked exclusively",
                    hint="wait until that has ended, or use another version",
                ) from None
            time.sleep(_PAUSE)
        except OSError:
            # A file system without locks: nothing to tell, and nothing to fear from it.
            return None


def _replaced(layer: str, what: str) -> Refusal:
    hint = "start again; whoever renews an image puts the new version into a new folder: 7lbd image add, publish"
    return Refusal(ExitCode.IMAGE, f"{layer}: {what} while the session began", hint=hint)
