"""Files that are brought to a command that works apart, and what comes back of it.

What comes back was made by the guest: plain files only, no link followed, no file executable, each whole or not there.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from ...base import foreign_files
from ...base.errors import ExitCode, Refusal
from ...base.paths import user_path
from . import outputs
from .request import JobRequest
from .verdict import CommandEnd, failed

_STEP = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
_CHUNK = 1 << 26  # bytes; a signal is heard in between


def bring(files: Iterable[str], work: Path) -> None:
    """Copy each into the command's folder, which is emptied first: nothing is left of the last one. Raises Refusal."""
    for entry in list(work.iterdir()):
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    for name in files:
        source = user_path(name)
        try:
            if source.is_dir():
                shutil.copytree(source, work / source.name, symlinks=False)
            else:
                shutil.copyfile(source, work / source.name)
        except (OSError, shutil.Error) as error:
            why = getattr(error, "strerror", None) or error
            raise Refusal(ExitCode.USAGE, f"--input {name}: cannot be copied: {why}") from None


def fetched(work: Path, request: JobRequest, end: CommandEnd) -> CommandEnd:
    """Copy what the patterns name to the user's folder. Returns `end`, or why that is not all."""
    done = 0
    missing = []
    try:
        for pattern in request.outputs:
            before = done
            for name, _ in outputs.found(work, [pattern]):
                _fetch(work, name, Path(request.folder), 0o666 & ~request.umask)
                done += 1
            if done == before:
                missing.append(pattern)
    except OSError as error:
        where = error.filename or request.folder
        return failed(f"{where}: {error.strerror}: only {done} of its files came back, and it ended with {end.code}")
    if missing and not end.code:
        return failed(f"it left no file that --output {missing[0]} names")
    return end


def _fetch(work: Path, name: str, folder: Path, mode: int) -> None:
    """One file, seen whole or not at all. Raises OSError."""
    *steps, last = PurePosixPath(name).parts
    with _below(folder, steps) as at, foreign_files.opened(work, name) as source:
        new = f".{last[:100]}.{secrets.token_hex(6)}.new"
        made = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=at)
        try:
            try:
                _copy(source, made)
                os.fchmod(made, mode)
            finally:
                os.close(made)
            os.rename(new, last, src_dir_fd=at, dst_dir_fd=at)
        except BaseException as error:
            with suppress(OSError):
                os.unlink(new, dir_fd=at)
            if isinstance(error, OSError):
                raise OSError(error.errno, error.strerror, str(folder / name)) from None
            raise


def _copy(source: int, made: int) -> None:
    """As the kernel does it best: blocks are shared where the file system can (copy_file_range(2))."""
    while True:
        try:
            copied = os.copy_file_range(source, made, _CHUNK)
        except OSError:
            copied = os.sendfile(made, source, None, _CHUNK)
        if not copied:
            return


@contextmanager
def _below(folder: Path, steps: list[str]) -> Iterator[int]:
    """A folder some folders deep, made where it is not there; below the user's own no link is followed."""
    at = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for step in steps:
            with suppress(FileExistsError):
                os.mkdir(step, dir_fd=at)
            below = os.open(step, _STEP, dir_fd=at)
            os.close(at)
            at = below
        yield at
    finally:
        os.close(at)
