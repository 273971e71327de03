"""Whose an image cache is: one that somebody else could fill, or could have put there, is not used."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from .errors import ExitCode, Refusal


def check_owner(path: Path) -> None:
    """Refuse a cache, if there is one, that somebody else than its user or root could have put there or can change."""
    try:
        status = path.stat()
    except OSError:
        return
    elsewhere = "name another folder: --image-cache DIR, or none: --image-cache ''"
    if not stat.S_ISDIR(status.st_mode):
        raise Refusal(ExitCode.RESOURCES, f"{path}: is not a folder, and so no image cache", hint=elsewhere)
    if status.st_mode & 0o022:
        what = f"{path}: others may write to it, and an image cache could hold anything then"
        raise Refusal(ExitCode.RESOURCES, what, hint=f"its owner can: chmod go-w {path}; or {elsewhere}")
    if status.st_uid in (os.getuid(), 0):
        return
    if status.st_uid != nobody():
        what = f"{path}: belongs to user {status.st_uid}, neither to you nor to root: it could hold anything"
        raise Refusal(ExitCode.RESOURCES, what, hint=elsewhere)
    # Apptainer's user namespace shows everybody but ourselves as nobody. What lies where only root, or whom root
    # gave a folder, could put it is taken for root's; what lies where all may make folders is not.
    open_to_all = [above for above in path.resolve().parents if above.stat().st_mode & 0o022]
    if open_to_all:
        what = f"{path}: is not yours, and could be anybody's: {open_to_all[0]} is open to all"
        raise Refusal(ExitCode.RESOURCES, what, hint=f"root's must lie where only root can put it; or {elsewhere}")


def nobody() -> int:
    """Who owns files here whose owner our user namespace has no number for (user_namespaces(7)); -1 without one."""
    whole = Path("/proc/self/uid_map").read_text().split() == ["0", "0", str((1 << 32) - 1)]
    return -1 if whole else int(Path("/proc/sys/kernel/overflowuid").read_text())
