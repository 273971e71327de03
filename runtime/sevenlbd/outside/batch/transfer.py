"""Files that are brought to a command that works apart, and what comes back of it. Its folder is a descriptor.

What comes back was made by the guest: plain files only, no link followed, no file executable, each whole or not there.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from ...base import foreign_files
from ...base.errors import ExitCode, Refusal
from ...base.paths import user_path
from . import outlet, outputs
from .request import JobRequest
from .verdict import CommandEnd, failed

_STEP = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_DEEP = 64  # folders; a guess: no input goes deeper on purpose
_CHUNK = 1 << 26  # bytes; a signal is heard in between
_MOST_UNSAID = 64 << 20  # bytes; a guess: the kernel's own files have some MiB, and /proc/self/pagemap terabytes
_PIECE = 1 << 20  # bytes


def bring(files: Iterable[str], work: int, is_over: Callable[[], bool] = lambda: False) -> None:
    """Copy each into the command's folder, which is emptied first: nothing is left of the last one.

    Raises Refusal, and InterruptedError when it is over before.
    """
    name = "the command's folder"
    try:
        _empty(work)
        for name in files:
            source = user_path(name)
            _put(source, work, source.name, (), is_over)
    except InterruptedError:
        raise
    except OSError as error:
        where = f"{error.filename}: " if error.filename and str(error.filename) != name else ""
        what = f"--input {name}: cannot be copied: {where}{error.strerror}"
        raise Refusal(ExitCode.USAGE, what) from None


def _empty(work: int) -> None:
    with os.scandir(work) as entries:
        for entry in list(entries):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.name, dir_fd=work)
            else:
                os.unlink(entry.name, dir_fd=work)


def _put(source: Path, at: int, name: str, above: tuple[tuple[int, int], ...], is_over: Callable[[], bool]) -> None:
    """A file, or a folder with all that is in it, under a name that must be new: no link of the guest's is followed.

    The user's own links are: what they lead to is copied. `above` are the folders that it is in, by device and inode.
    """
    if is_over():
        raise InterruptedError
    found = source.stat()
    if stat.S_ISDIR(found.st_mode):  # is_dir() calls whatever cannot be looked at no folder
        if (found.st_dev, found.st_ino) in above:
            raise OSError(errno.ELOOP, "leads back to a folder that it is in", str(source))
        if len(above) == _MOST_DEEP:
            raise OSError(errno.ELOOP, "has too many folders in each other", str(source))
        os.mkdir(name, 0o700, dir_fd=at)
        below = os.open(name, _STEP, dir_fd=at)
        try:
            for entry in sorted(source.iterdir()):
                _put(entry, below, entry.name, (*above, (found.st_dev, found.st_ino)), is_over)
        finally:
            os.close(below)
        return
    given = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        status = os.fstat(given)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "is no file or folder", str(source))
        made = os.open(name, _NEW, stat.S_IMODE(status.st_mode) & 0o777 | 0o600, dir_fd=at)
        try:
            if status.st_size:
                _copy(given, made, is_over)
            else:
                _read_out(given, made)
            os.utime(made, ns=(status.st_atime_ns, status.st_mtime_ns))
        finally:
            os.close(made)
    finally:
        os.close(given)


def fetched(work: int, request: JobRequest, end: CommandEnd, is_over: Callable[[], bool] = lambda: False) -> CommandEnd:
    """Copy what the patterns name to the user's folder, until it `is_over`. Returns `end`, or why that is not all."""
    done = 0
    missing = []
    # The user's own, by a path, which may lead through links; or by the descriptor that holds one, which nobody knows.
    top = request.folder if request.results is None else f"/proc/self/fd/{request.results}"
    try:
        for pattern in request.outputs:
            before = done
            for name, _ in outputs.found(work, [pattern]):
                _fetch(work, name, Path(top), request.umask, is_over)
                done += 1
            if done == before:
                missing.append(pattern)
    except InterruptedError:
        return failed(f"interrupted: only {done} of its files came back, and it ended with {end.code}")
    except OSError as error:
        where = str(error.filename or top)
        if request.results is not None:
            where = where.removeprefix(f"{top}/")
        return failed(f"{where}: {error.strerror}: only {done} of its files came back, and it ended with {end.code}")
    if missing and not end.code:
        return failed(f"it left no file that --output {missing[0]} names")
    return end


def _fetch(work: int, name: str, folder: Path, umask: int, is_over: Callable[[], bool]) -> None:
    """One file, seen whole or not at all. Raises OSError, and InterruptedError when it is over before."""
    *steps, last = PurePosixPath(name).parts
    with _below(folder, steps, umask) as at, foreign_files.opened(work, name) as source:
        new = f".7lbd-{secrets.token_hex(8)}.new"  # nothing of its name, which may be as long as names can be
        made = os.open(new, _NEW, 0o600, dir_fd=at)
        try:
            try:
                _copy(source, made, is_over)
                os.fchmod(made, 0o666 & ~umask)
            finally:
                os.close(made)
            os.rename(new, last, src_dir_fd=at, dst_dir_fd=at)
        except BaseException as error:
            with suppress(OSError):
                os.unlink(new, dir_fd=at)
            if isinstance(error, OSError) and not isinstance(error, InterruptedError):
                raise OSError(error.errno, error.strerror, str(folder / name)) from None
            raise


def _copy(source: int, made: int, is_over: Callable[[], bool]) -> None:
    """What it holds, its holes left out: a guest makes them of any size for nothing (lseek(2), SEEK_DATA)."""
    size = os.fstat(source).st_size
    at = 0
    while (at := _next_data(source, at)) < size:
        end = min(os.lseek(source, at, os.SEEK_HOLE), size)
        os.lseek(made, at, os.SEEK_SET)
        while at < end:
            if is_over():
                raise InterruptedError
            copied = _moved(source, made, at, min(_CHUNK, end - at))
            if not copied:  # it is shorter by now
                return
            at += copied
    os.ftruncate(made, size)


def _read_out(given: int, made: int) -> None:
    """What says that it is empty and may not be, as all in /proc: read to its end."""
    left = _MOST_UNSAID
    while piece := os.read(given, _PIECE):
        left -= len(piece)
        if left < 0:
            raise OSError(errno.EFBIG, "does not say its size, and has no end")
        outlet.write(made, piece)


def _next_data(source: int, at: int) -> int:
    try:
        return os.lseek(source, at, os.SEEK_DATA)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return os.fstat(source).st_size


def _moved(source: int, made: int, at: int, count: int) -> int:
    """As the kernel does it best: blocks are shared where the file system can (copy_file_range(2))."""
    try:
        return os.copy_file_range(source, made, count, at)
    except OSError:
        return os.sendfile(made, source, at, count)


def stepped(at: int, step: str, umask: int) -> int:
    """A descriptor of a folder in this one, made where it is not there; no link is followed. Raises OSError."""
    with suppress(FileExistsError):
        os.mkdir(step, dir_fd=at)
        os.chmod(step, 0o777 & ~umask, dir_fd=at)  # our own umask lets nobody else in
    return os.open(step, _STEP, dir_fd=at)


@contextmanager
def _below(folder: Path, steps: list[str], umask: int) -> Iterator[int]:
    """A folder some folders deep, made where it is not there; below the user's own no link is followed."""
    at = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for step in steps:
            below = stepped(at, step, umask)
            os.close(at)
            at = below
        yield at
    finally:
        os.close(at)
