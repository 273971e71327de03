"""Session folders: made, found, told alive from left over, and removed. It is the only writer below the base."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from .. import state
from ..errors import ExitCode, Refusal

LOCK = "lock"
STATE = "session.json"
CREDENTIALS = "credentials.json"
CONTROL = "control.sock"
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")
# sun_path of unix(7) holds 108 bytes with its end mark; the longest socket here is control.sock.
_MAX_PATH = 107 - len(f"/{CONTROL}")
_KEPT_FAILURES = 5
_FAILED = "failed-"
_NEW = ".new-"


def base(wanted: str, environment: Mapping[str, str]) -> Path:
    """Where this user's session folders are. The folder need not exist yet."""
    if wanted:
        return Path(wanted).expanduser().absolute()
    temporary = Path(environment.get("TMPDIR") or "/tmp")
    if not temporary.is_dir():
        temporary = Path("/tmp")
    return temporary.absolute() / f"7lbd-{os.getuid()}"


def check_base(folder: Path) -> None:
    """Refuse a base folder that somebody else could read or swap. Raises Refusal."""
    parent = folder
    while not parent.exists() and not parent.is_symlink():
        parent = parent.parent
    if parent != folder:
        if not os.access(parent, os.W_OK | os.X_OK):
            raise Refusal(
                ExitCode.RESOURCES,
                f"{folder}: cannot be made, because {parent} is not writable for you",
                hint="choose another place: --session-dir DIR",
            )
        return
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise Refusal(
            ExitCode.RESOURCES,
            f"{folder}: is not a folder of yours; somebody else may have put it there",
            hint="choose another place: --session-dir DIR",
        )
    if found.st_mode & 0o077:
        raise Refusal(ExitCode.RESOURCES, f"{folder}: others may enter it", hint=f"chmod 700 {folder}")


def check_name(folder: Path, name: str) -> None:
    """Refuse a session id that is malformed, taken, or makes its sockets' paths too long. Raises Refusal."""
    if not _NAME.fullmatch(name) or name.startswith(_FAILED):
        raise Refusal(
            ExitCode.USAGE,
            f"`{name}` cannot be a session's name",
            hint="a name has 1 to 31 lower-case letters, digits and -, and does not begin with - or failed-",
        )
    if is_alive(folder / name):
        raise Refusal(
            ExitCode.USAGE,
            f"a session `{name}` is running already",
            hint=f"7lbd connect {name}, 7lbd stop {name}, or choose another --name",
        )
    if len(os.fsencode(folder / name)) > _MAX_PATH:
        raise Refusal(
            ExitCode.RESOURCES,
            f"{folder / name}: is too long for sockets in it ({_MAX_PATH} bytes at most)",
            hint="choose a shorter place: --session-dir DIR",
        )


def new_name() -> str:
    """A short random session id."""
    return secrets.token_hex(3)


@contextmanager
def session_folder(where: Path, name: str) -> Iterator[Path]:
    """A private folder for one session, locked for as long as it lives, removed at the end.

    Its lock (flock(2)) goes with the process, even with SIGKILL: that is how others know.
    """
    where.mkdir(mode=0o700, parents=True, exist_ok=True)
    check_base(where)
    remove_leftovers(where)
    fresh = where / f"{_NEW}{new_name()}"
    fresh.mkdir(mode=0o700)
    lock = os.open(fresh / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    folder = where / name
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        (fresh / "logs").mkdir(mode=0o700)
        _take_name(fresh, folder)
        yield folder
    finally:
        for left in (fresh, folder):
            if _owns(lock, left):
                shutil.rmtree(left, ignore_errors=True)
        os.close(lock)
        with suppress(OSError):
            where.rmdir()


def _take_name(fresh: Path, folder: Path) -> None:
    try:
        fresh.rename(folder)
    except OSError as error:
        raise Refusal(
            ExitCode.USAGE,
            f"{folder}: the session's folder cannot be made: {error.strerror}",
            hint="choose another --name",
        ) from None


def _owns(lock: int, folder: Path) -> bool:
    with suppress(OSError):
        return os.path.samestat(os.fstat(lock), (folder / LOCK).stat())
    return False


def is_alive(folder: Path) -> bool:
    """Whether a supervisor holds the folder's lock."""
    try:
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def alive(where: Path) -> list[Path]:
    """Folders of running sessions, oldest first."""
    return [folder for folder in _entries(where) if not folder.name.startswith(".") and is_alive(folder)]


def failures(where: Path) -> list[Path]:
    """What failed sessions left for their user to look at, oldest first."""
    return [folder for folder in _entries(where) if folder.name.startswith(_FAILED)]


def _entries(where: Path) -> list[Path]:
    with suppress(OSError):
        return sorted((path for path in where.iterdir() if path.is_dir()), key=lambda path: path.lstat().st_mtime)
    return []


def remove_leftovers(where: Path, *, failed_too: bool = False) -> list[Path]:
    """Remove folders whose supervisor is gone, and all but the newest failures. Returns what was removed."""
    removed = []
    kept = [] if failed_too else failures(where)[-_KEPT_FAILURES:]
    for folder in _entries(where):
        if folder in kept or is_alive(folder) or _is_being_made(folder):
            continue
        shutil.rmtree(folder, ignore_errors=True)
        removed.append(folder)
    return removed


def _is_being_made(folder: Path) -> bool:
    """A folder without its lock yet, and too young to be given up."""
    return folder.name.startswith(_NEW) and time.time() - folder.lstat().st_mtime < 60


def keep_failure(folder: Path) -> Path:
    """Save what explains a failure (state, logs, last screen; no secret, no disk) and return its place."""
    kept = folder.with_name(f"{_FAILED}{folder.name}")
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(mode=0o700)
    for name in (STATE, "console.png"):
        with suppress(OSError):
            shutil.copy(folder / name, kept)
    with suppress(OSError):
        shutil.copytree(folder / "logs", kept / "logs")
    return kept


def find(where: Path, name: str) -> Path:
    """The folder of the running session `name`, or of the only one. Raises Refusal."""
    running = alive(where)
    if name:
        running = [folder for folder in running if folder.name == name]
    if len(running) == 1:
        return running[0]
    names = ", ".join(folder.name for folder in alive(where))
    if not names:
        what = f"no session of yours is running on {os.uname().nodename} (looked in {where})"
        raise Refusal(ExitCode.NO_SESSION, what, hint="start one: 7lbd run")
    what = f"there is no session `{name}`" if name else "several sessions are running"
    raise Refusal(ExitCode.NO_SESSION, f"{what}; there are: {names}", hint="name one of them")


def read_state(folder: Path) -> state.SessionState | None:
    """The session's state, or None when it has just ended."""
    try:
        return state.read(folder / STATE)
    except (OSError, ValueError):
        return None
