"""Where saved desktops are: the user's own folder, their names, and what is under way."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from ...base.errors import ExitCode, Refusal
from ..presence import records

SAVED = "saved"
KEY = "key"
SUFFIX = ".7lbd"
_UNDER_WAY = re.compile(r"\..+\.7lbd\.[0-9a-f]{16}\.new")


def folder(state_dir: str, environment: Mapping[str, str]) -> Path | None:
    """The user's saved desktops and key; None when there is no folder for the state. Nothing is looked at."""
    register = records.where(state_dir, environment)
    return register.parent / SAVED if register else None


def made(place: Path) -> Path:
    """The folder, made if it is not there. Raises Refusal when it cannot be, or is not the user's alone."""
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = place.lstat()
    except OSError as error:
        what = f"{place}: the folder of saved desktops cannot be made: {error.strerror}"
        raise Refusal(ExitCode.RESOURCES, what, hint="--state-dir DIR") from None
    if status.st_uid != os.getuid() or status.st_mode & 0o022:
        what = f"{place}: others could write there, and what it holds is encrypted for whoever they want"
        raise Refusal(ExitCode.USAGE, what, hint=f"chmod 700 {place}, if it is yours")
    return place


def all_in(place: Path) -> list[Path]:
    """The saved desktops in a folder, by name; of a folder that is not there, none."""
    with suppress(OSError):
        return sorted(path for path in place.iterdir() if path.suffix == SUFFIX and not path.name.startswith("."))
    return []


def find(place: Path | None, text: str) -> Path:
    """The saved desktop that is meant: a file by its path, a name in the user's folder, or the only one there."""
    if "/" in text or text.endswith(SUFFIX):
        return Path(text).expanduser().absolute()
    known = all_in(place) if place else []
    meant = [path for path in known if path.stem == text] if text else known
    if len(meant) == 1:
        return meant[0]
    names = ", ".join(path.stem for path in known)
    if not known:
        what = f"there is no saved desktop{f' in {place}' if place else ''}"
    elif text:
        what = f"there is no saved desktop `{text}`; there are: {names}"
    else:
        what = f"there are several saved desktops: {names}"
    raise Refusal(ExitCode.NO_SESSION, what, hint="7lbd saved list; or name a file: ./NAME.7lbd")


def remove_interrupted(place: Path) -> None:
    """Remove what writers that were killed left in a folder: those whose lock nobody holds."""
    with suppress(OSError):
        for path in place.iterdir():
            if _UNDER_WAY.fullmatch(path.name):
                _remove_unlocked(path)


def _remove_unlocked(path: Path) -> None:
    with suppress(OSError):
        # For writing, or NFS does not lock it exclusively (flock(2)).
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
        finally:
            os.close(descriptor)
