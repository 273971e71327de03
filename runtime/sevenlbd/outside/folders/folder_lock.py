"""The lock of a session's folder: how a living session is told from what a dead one left, and who removes that.

It is flock(2) on the file `lock`, which goes with its process, even by SIGKILL. Many sessions start, look, and clean at
the same moment, and none may disturb another:

- The owner marks and locks the file under another name; then it gets the name that others look at. So nobody ever sees
  the lock of a living session open, and nobody has to be waited for. A lock that is seen open stays so for ever.
- Who asks takes it shared, as any number can at a time.
- Who removes a dead folder says so in the file, and takes it for himself; who asks then reads that. The lock goes last:
  what a remover who is killed leaves can still be told for ours.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LOCK = "lock"
_UNSEEN = ".lock"
# The first bytes of the lock file of every folder that is ours to remove; and of one that somebody is removing.
MARK = b"7lbd session\n"
_GONE = b"7lbd removed\n"
# Who asks holds the lock for some microseconds.
_TRIES = 50
_PAUSE_SECONDS = 0.002  # a tenth of one in all


def claim(folder: Path) -> int:
    """Mark a new folder as ours, and lock it. The lock lasts as long as the descriptor. Raises OSError."""
    lock = os.open(folder / _UNSEEN, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.write(lock, MARK)
        (folder / _UNSEEN).rename(folder / LOCK)
    except BaseException:
        os.close(lock)
        raise
    return lock


def is_alive(folder: Path) -> bool:
    """Whether a supervisor holds the folder's lock. To ask disturbs nobody."""
    try:
        with _opened(folder, os.O_RDONLY) as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return os.pread(lock, len(_GONE), 0) != _GONE
    except OSError:
        return False
    return False


def is_marked(folder: Path) -> bool:
    """Whether we made this folder: the user may keep other things beside."""
    with suppress(OSError), _opened(folder, os.O_RDONLY) as lock:
        return os.pread(lock, len(MARK), 0) in (MARK, _GONE)
    return False


def is_held_by(lock: int, folder: Path) -> bool:
    """Whether `lock`, from `claim`, is this folder's."""
    with suppress(OSError):
        return os.path.samestat(os.fstat(lock), (folder / LOCK).lstat())
    return False


def remove_held(lock: int, folder: Path) -> None:
    """Remove the folder, if it is the one that `lock` holds."""
    if is_held_by(lock, folder):
        _remove_tree(folder)


def remove_own(made: int, folder: Path) -> None:
    """Remove the folder, if it is the one that the descriptor `made` holds: its mark went when somebody removed it.

    Whoever did that meanwhile may have met a file of ours that was just being written, and left the folder for it.
    """
    with suppress(OSError):
        if os.path.samestat(os.fstat(made), folder.lstat()):
            shutil.rmtree(folder)


def remove_dead(folder: Path) -> None:
    """Remove a folder that bears our mark and that nobody holds; what else there is stays."""
    with suppress(OSError), _opened(folder, os.O_RDWR) as lock:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        if os.pread(lock, len(MARK), 0) not in (MARK, _GONE):
            return
        os.pwrite(lock, _GONE, 0)
        # As long as we hold it nobody else removes the folder, so the name cannot come to mean another session's.
        if _taken_alone(lock) and is_held_by(lock, folder):
            _remove_tree(folder)


def remove_unborn(folder: Path) -> None:
    """Remove a folder whose maker got no further than to make it; one with other things in it stays."""
    with suppress(OSError):
        lock = os.open(folder / _UNSEEN, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            if os.pread(lock, len(MARK), 0) in (b"", MARK):
                (folder / _UNSEEN).unlink()
        finally:
            os.close(lock)
    with suppress(OSError):
        folder.rmdir()


@contextmanager
def _opened(folder: Path, how: int) -> Iterator[int]:
    lock = os.open(folder / LOCK, how | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        yield lock
    finally:
        os.close(lock)


def _taken_alone(lock: int) -> bool:
    for _ in range(_TRIES):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_PAUSE_SECONDS)
        else:
            return True
    return False


def _remove_tree(folder: Path) -> None:
    for path in list(folder.iterdir()):
        if path.name != LOCK:
            with suppress(OSError):
                _remove(path)
    if list(folder.iterdir()) == [folder / LOCK]:
        (folder / LOCK).unlink()
        folder.rmdir()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink()
