"""Files that somebody else may have written, or may be writing: read and copied as a stranger's, by everybody here.

No link is followed on the way, nothing that is not a plain file is touched, nothing is waited for, and no more is taken
than was agreed. Sources: open(2), O_NOFOLLOW, O_NONBLOCK; openat(2).
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath

from . import process

_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
_STEP = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW


Folder = Path | int
"""By its path, or by a descriptor: that stays the same folder whatever has become of its path."""


@contextmanager
def opened(folder: Folder, name: str | PurePath) -> Iterator[int]:
    """A descriptor of the plain file `name`, some folders deep in `folder`. Raises OSError for anything else."""
    *steps, last = PurePath(name).parts
    if ".." in (*steps, last) or PurePath(name).is_absolute():
        raise OSError(errno.EINVAL, "is not a name in this folder", str(name))
    at = os.dup(folder) if isinstance(folder, int) else os.open(folder, _STEP)
    try:
        for step in steps:
            below = os.open(step, _STEP, dir_fd=at)
            os.close(at)
            at = below
        descriptor = os.open(last, _READ, dir_fd=at)
    finally:
        os.close(at)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "is not a plain file", _told(folder, name))
        yield descriptor
    finally:
        os.close(descriptor)


def read(folder: Folder, name: str | PurePath, most: int) -> bytes:
    """The whole file. Raises OSError, also when it has more than `most` bytes."""
    with opened(folder, name) as descriptor:
        content = _up_to(descriptor, most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), _told(folder, name))
    return content


def tail(folder: Folder, name: str | PurePath, most: int) -> bytes:
    """The last bytes of the file, `most` at most. Raises OSError."""
    with opened(folder, name) as descriptor:
        os.lseek(descriptor, max(0, os.fstat(descriptor).st_size - most), os.SEEK_SET)
        return _up_to(descriptor, most)


def copy(folder: Folder, name: str | PurePath, target: Path, most: int) -> None:
    """Copy the file to a new one, with its holes. Raises OSError, also when it is longer than `most` bytes.

    Whoever still has it open can spoil what comes after this, but not what the copy is.
    """
    with opened(folder, name) as source:
        if os.fstat(source).st_size > most:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), _told(folder, name))
        made = os.open(target, _CREATE, 0o600)
        try:
            _copy_sparse(source, made, target)
        except BaseException:
            with suppress(OSError):
                target.unlink()
            raise
        finally:
            os.close(made)


def _told(folder: Folder, name: str | PurePath) -> str:
    return str(name) if isinstance(folder, int) else str(folder / name)


def _up_to(descriptor: int, most: int) -> bytes:
    pieces = []
    while most > 0 and (piece := os.read(descriptor, min(most, 1 << 20))):
        pieces.append(piece)
        most -= len(piece)
    return b"".join(pieces)


def _copy_sparse(source: int, made: int, target: Path) -> None:
    """Blocks are shared where the file system can, holes are kept, and no name is looked up again."""
    command = ["/usr/bin/cp", "--sparse=always", "--reflink=auto", "--"]
    command += [f"/proc/self/fd/{source}", f"/proc/self/fd/{made}"]
    # It is in a session of its own: a Ctrl-C at the terminal is not for a copy that is nearly done.
    done = process.run(command, pass_fds=(source, made))
    if done.code:
        why = done.said.rpartition(": ")[2] or f"cp ended with {done.code}"
        raise OSError(errno.EIO, why, str(target))
