"""The folder of one command on the share `job`, opened once and held: nothing there is looked up by a path again.

Whoever has taken over the session's file server may put a link where the folder was, and what we write, rename and
remove by that path would then be the user's own. A descriptor stays what it was (openat(2), O_NOFOLLOW).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ...base import atomic, foreign_files
from ...wire.job_files import JOB

_HELD = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class JobFolder:
    """By its descriptor. Each method raises OSError."""

    def __init__(self, descriptor: int) -> None:
        self._at = descriptor
        self.stays = False
        """Whether a new one is left where it is."""

    def put(self, name: str, content: bytes = b"") -> None:
        """A file that is seen whole or not at all, in place of whatever has that name."""
        atomic.replace_in(self._at, name, content)

    def put_in_turn(self, name: str, part: str, content: bytes) -> None:
        """The same under a name that comes once, as `part` until it is whole. What is there is not written through."""
        with os.fdopen(os.open(part, _CREATE, 0o600, dir_fd=self._at), "wb") as file:
            file.write(content)
        os.rename(part, name, src_dir_fd=self._at, dst_dir_fd=self._at)

    def read(self, name: str, most: int) -> bytes:
        """What the guest has put there, as a stranger's file."""
        return foreign_files.read(self._at, name, most)

    def has(self, name: str) -> bool:
        """Whether anything has this name."""
        try:
            os.stat(name, dir_fd=self._at, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def remove(self, name: str) -> None:
        """What the guest may have removed before."""
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._at)


@contextmanager
def opened(session: Path, name: str) -> Iterator[JobFolder]:
    """One that is there. Raises OSError, also for a link."""
    with _held(session / JOB) as every, _held(Path(name), every) as folder:
        yield JobFolder(folder)


@contextmanager
def made(session: Path, name: str) -> Iterator[JobFolder]:
    """A new one, that is gone when this ends, unless it `stays`. Raises OSError."""
    with _held(session / JOB) as every:
        os.mkdir(name, 0o700, dir_fd=every)
        stays = False
        try:
            with _held(Path(name), every) as descriptor:
                folder = JobFolder(descriptor)
                yield folder
                stays = folder.stays
        finally:
            if not stays:
                shutil.rmtree(name, ignore_errors=True, dir_fd=every)


@contextmanager
def _held(path: Path, at: int | None = None) -> Iterator[int]:
    descriptor = os.open(path, _HELD, dir_fd=at)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
