"""One at a time: a lock for those who change an image's folder, which goes with its owner."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ...base import heartbeat
from ...base.errors import ExitCode, Refusal

_PATIENCE = 60.0  # seconds; what is done meanwhile takes one or two, on a slow file server more
_PAUSE = 0.02  # seconds; short for somebody who waits


@contextmanager
def lock(path: Path, patience: float = _PATIENCE) -> Iterator[None]:
    """Hold the lock at `path`: flock(2), or where the file system has none, a heartbeat. Waits for its turn.

    Raises Refusal when that does not come within `patience` seconds, OSError when the file cannot be made.
    """
    descriptor = _opened(path)
    try:
        if _flocked(descriptor, path, patience):
            yield
        else:
            with by_heartbeat(path.with_name(f"{path.name}-mark"), patience):
                yield
    finally:
        os.close(descriptor)


@contextmanager
def by_heartbeat(path: Path, patience: float = _PATIENCE) -> Iterator[None]:
    """The same by a heartbeat alone, made by O_EXCL. Raises Refusal and OSError as `lock`."""
    deadline = time.monotonic() + patience
    while True:
        lasting = heartbeat.kept(path)
        try:
            lasting.__enter__()
            break
        except FileExistsError:
            heartbeat.take_away(path)
            _wait(path, deadline)
    try:
        yield
    finally:
        lasting.__exit__(None, None, None)


def _opened(path: Path) -> int:
    flags = os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(path, os.O_RDWR | flags, 0o644)
    except PermissionError:  # another admin's; on a local disk reading is enough for a lock
        return os.open(path, os.O_RDONLY | flags, 0o644)
    with suppress(OSError):
        os.fchmod(descriptor, 0o644 | path.parent.stat().st_mode & 0o022)
    return descriptor


def _flocked(descriptor: int, path: Path, patience: float) -> bool:
    """True once it is locked; False when the file system has no locks."""
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            _wait(path, deadline)
        except OSError:
            return False


def _wait(path: Path, deadline: float) -> None:
    if time.monotonic() > deadline:
        beat = heartbeat.read(path)
        whose = f" ({beat})" if beat and beat.pid else ""
        what = f"{path.parent}: somebody else is changing it{whose}"
        raise Refusal(ExitCode.IMAGE, what, hint="try again when that has ended")
    time.sleep(_PAUSE)
