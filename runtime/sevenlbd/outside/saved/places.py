"""Where saved desktops are: the user's own folder, their names, and what is under way."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
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


def locked_file(target: Path) -> tuple[Path, int]:
    """A new file beside `target`, and its descriptor, that is locked. Raises OSError.

    Whoever tidies up takes one that is not locked yet for left over: many are suspended when a node is cleared.
    """
    while True:
        fresh = target.with_name(f".{target.name}.{os.urandom(8).hex()}.new")
        descriptor = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with suppress(OSError):  # a file system without locks, where nobody tidies up either
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return fresh, descriptor
        os.close(descriptor)


def remove_interrupted(place: Path) -> list[Path]:
    """Remove what writers that were killed left in a folder: those whose lock nobody holds. Returns what is removed."""
    return [path for path in under_way(place) if _is_removed(path)]


def under_way(place: Path) -> list[Path]:
    """The files in a folder that are being written, or were left half; of a folder that is not there, none."""
    with suppress(OSError):
        return sorted(path for path in place.iterdir() if _UNDER_WAY.fullmatch(path.name))
    return []


def _is_removed(path: Path) -> bool:
    with suppress(OSError), abandoned(path):
        path.unlink()
        return True
    return False


@contextmanager
def abandoned(path: Path) -> Iterator[int]:
    """A descriptor of a file whose lock nobody holds, and nobody gets meanwhile. Raises OSError for any other."""
    # For writing, or NFS does not lock it exclusively (flock(2)).
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield descriptor
    finally:
        os.close(descriptor)
