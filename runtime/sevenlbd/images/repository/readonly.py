"""A folder that nobody writes to any more: read-only, opened for a moment, or removed as a whole."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from ...base import atomic


def close(folder: Path) -> None:
    """Put all of it on the disk and take every right to write away.

    Who may read is decided by the folder above, whatever the umask was. A file that is read-only already keeps its
    identity: a change of its mode, even to the same one, would set its ctime (see `verified`). Raises OSError.
    """
    readers = stat.S_IMODE(folder.parent.stat().st_mode) & 0o555 | 0o500
    for path in _walk(folder):
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            continue
        if stat.S_ISREG(mode):
            atomic.to_disk(path)
            if stat.S_IMODE(mode) != readers & 0o444:
                path.chmod(readers & 0o444)
        else:
            path.chmod(readers)
            atomic.to_disk(path)


def reopen(folder: Path) -> None:
    """Give its owner the right to write back, in folders and files. Raises OSError."""
    for path in _walk(folder, folders_first=True):
        mode = path.lstat().st_mode
        if not stat.S_ISLNK(mode):
            path.chmod(stat.S_IMODE(mode) | 0o200)


def remove(folder: Path) -> None:
    """Remove it with all that is in it, read-only or not. Raises OSError."""
    for path in _walk(folder, folders_first=True):
        mode = path.lstat().st_mode
        if stat.S_ISDIR(mode):
            path.chmod(stat.S_IMODE(mode) | 0o700)
    shutil.rmtree(folder)


def _walk(folder: Path, *, folders_first: bool = False) -> Iterator[Path]:
    """Everything in it and itself; symbolic links are not followed."""
    if folders_first:
        yield folder
    with os.scandir(folder) as entries:
        children = sorted(entries, key=lambda entry: entry.name)
    for entry in children:
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path), folders_first=folders_first)
        else:
            yield Path(entry.path)
    if not folders_first:
        yield folder
