"""Paths as users write them, and whether anything is there: what cannot be looked at is not, for us.

pathlib raises for a place behind a folder that is closed to us (before Python 3.14), and users have such: a PATH, a
TMPDIR or an XDG_STATE_HOME that su(1) left from another account.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def user_path(text: str) -> Path:
    """A path as a user writes it; a `~` that leads nowhere stays as it is, and is found missing later."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def is_folder(path: Path) -> bool:
    """Whether there is a folder, or a link to one, that we can see."""
    with suppress(OSError):
        return path.is_dir()
    return False


def is_there(path: Path) -> bool:
    """Whether there is anything, or a link to it, that we can see."""
    with suppress(OSError):
        return path.exists()
    return False


def is_link(path: Path) -> bool:
    """Whether there is a symbolic link that we can see."""
    with suppress(OSError):
        return path.is_symlink()
    return False
