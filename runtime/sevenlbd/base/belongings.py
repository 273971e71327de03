"""Whose a file is that was found, not named: beside the SIF, or under a fixed name. A stranger's does not count.

In a folder that others may write to (/tmp, a scratch file system with its sticky bit) anybody can put a `7lbd.toml` or
`images` beside the SIF. What is not surely its owner's or root's there is passed over, and said so: to refuse would let
that stranger keep everybody from a session. Where nobody else may write, what is wrong with the file is its owner's
mistake, and refused: passed over, what the site locks would not hold.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .errors import ExitCode, Refusal
from .ownership import nobody

MOST_BYTES = 1 << 20  # a guess: files of settings have some KiB, and a large one must not fill the memory


class Strangers(Exception):
    """It may be anybody's, so it does not count; the text says why."""


@dataclass(frozen=True)
class Owners:
    """Whose files count, and which bits of a mode would let others change one."""

    users: frozenset[int]
    called: str
    should_be: str
    others: int = stat.S_IWGRP | stat.S_IWOTH


def of_sif(sif: str) -> Owners:
    """Root, and whom the SIF belongs to, or a link to it; or its folder, when an update has just taken it away."""
    users = {0}
    with suppress(OSError):
        users |= {Path(sif).stat().st_uid, Path(sif).lstat().st_uid}
    if len(users) == 1 and not Path(sif).exists():
        with suppress(OSError):
            users |= {Path(sif).parent.stat().st_uid}
    return Owners(frozenset(users), "root's nor the SIF's owner's", "root's, or the SIF's owner's")


def of_user() -> Owners:
    """Root, and ourselves; many have a group of their own, which may write to their files."""
    return Owners(frozenset({0, os.getuid()}), "yours nor root's", "yours", stat.S_IWOTH)


def read(path: Path, owners: Owners) -> bytes:
    """What is in the file, judged by the descriptor that it is read from. Raises Strangers, Refusal or OSError."""
    is_open = _is_open(path.parent)
    # Where others may write, a link could lead to another file of the owner's.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (os.O_NOFOLLOW if is_open else 0)
    try:
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        raise
    except OSError as error:
        if is_open:
            raise Strangers(f"cannot be opened as a file: {error.strerror}") from None
        raise
    try:
        real = Path(f"/proc/self/fd/{descriptor}").readlink()
        if trouble := _trouble(os.fstat(descriptor), owners, is_open or _is_open(real.parent)):
            if is_open:
                raise Strangers(trouble)
            hint = f"chmod go-w {path}; it should be {owners.should_be}"
            raise Refusal(ExitCode.USAGE, f"{path}: {trouble}", hint=hint)
        return os.read(descriptor, MOST_BYTES)
    finally:
        os.close(descriptor)


def check_folder(path: Path, owners: Owners) -> None:
    """Raises Strangers when the folder, or the link, may have been put there by somebody else."""
    if not _is_open(path.parent):
        return
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise Strangers("is not a folder")
    if trouble := _trouble_with_owner(status, owners, is_open=True):
        raise Strangers(trouble)


def _trouble(status: os.stat_result, owners: Owners, is_open: bool) -> str:
    if not stat.S_ISREG(status.st_mode):
        return "is not a file"
    if status.st_size > MOST_BYTES:
        return f"has more than {MOST_BYTES} bytes"
    if status.st_mode & owners.others:
        return f"others than its owner may write to it (mode {stat.S_IMODE(status.st_mode):04o})"
    return _trouble_with_owner(status, owners, is_open)


def _trouble_with_owner(status: os.stat_result, owners: Owners, is_open: bool) -> str:
    if status.st_uid == nobody():
        # Apptainer's user namespace shows everybody but ourselves so, root and the SIF's owner, too.
        return "could be anybody's: the container does not show whose it is" if is_open else ""
    return "" if status.st_uid in owners.users else f"belongs to user {status.st_uid}, neither {owners.called}"


def _is_open(folder: Path) -> bool:
    """Whether somebody else can put a file there who could not put another SIF in our place, or all could."""
    mode = folder.stat().st_mode
    return bool(mode & stat.S_IWOTH or (mode & stat.S_IWGRP and mode & stat.S_ISVTX))
