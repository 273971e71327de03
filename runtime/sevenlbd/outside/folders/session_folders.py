"""Session folders: made, found, told alive from left over, and removed. It is the only writer below the base.

The base may be any folder of the user's, with other things in it: nothing is removed that does not bear our mark.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from ...base import atomic, foreign_files
from ...base.errors import ExitCode, Refusal
from ...wire import shared_files, state
from . import bases, folder_lock
from .folder_lock import LOCK, is_alive, is_marked

STATE = "session.json"
CREDENTIALS = "credentials.json"
CONTROL = "control.sock"
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")
# sun_path of unix(7) holds 108 bytes with its end mark; the longest socket here is control.sock.
_MAX_PATH = 107 - len(f"/{CONTROL}")
_KEPT_FAILURES = 5  # a guess between what helps to find a fault and what fills a disk
# Of each file: logs begin anew at 4 MiB, and a screen of 4K without compression has 32.
_MOST_KEPT = 32 << 20
# A folder without its lock yet is given up after this long.
_MAKING_SECONDS = 60
_FAILED = "failed-"
_NEW = ".new-"
_ATTEMPTS = 100  # a guess: another session's end comes between once or twice


def check_name(folder: Path, name: str) -> None:
    """Refuse a session id that is malformed, taken, or makes its sockets' paths too long. Raises Refusal."""
    if not is_name(name):
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


def is_name(name: str) -> bool:
    """Whether a session can be called so."""
    return _NAME.fullmatch(name) is not None and not name.startswith(_FAILED)


def new_name() -> str:
    """A short random session id."""
    return secrets.token_hex(3)


@contextmanager
def session_folder(where: Path, name: str) -> Iterator[Path]:
    """A private folder for one session, locked for as long as it lives, removed at the end. Raises Refusal."""
    with trouble_told(where):
        remove_leftovers(where)
        fresh, lock = _made(where)
    with ExitStack() as undo:
        undo.callback(_remove_empty, where)
        undo.callback(os.close, lock)
        made = os.open(fresh, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        undo.callback(os.close, made)
        undo.callback(folder_lock.remove_own, made, where / name)
        for left in (fresh, where / name):
            undo.callback(folder_lock.remove_held, lock, left)
        with trouble_told(where):
            (fresh / shared_files.LOGS).mkdir(mode=0o700)
        _take_name(fresh, where / name)
        yield where / name


def _made(where: Path) -> tuple[Path, int]:
    """A new folder below the base, and its lock. Raises OSError or Refusal."""
    for attempt in range(_ATTEMPTS):
        bases.check_base(where)
        try:
            where.mkdir(mode=0o700, parents=True, exist_ok=True)
            bases.check_owned(where)
            return _claimed(where / f"{_NEW}{new_name()}")
        except (FileNotFoundError, FileExistsError):
            # The last session to end takes an empty base along: between any two steps of ours.
            if attempt == _ATTEMPTS - 1:
                raise
    raise AssertionError  # not reached


def _claimed(fresh: Path) -> tuple[Path, int]:
    fresh.mkdir(mode=0o700)
    try:
        return fresh, folder_lock.claim(fresh)
    except BaseException:
        folder_lock.remove_unborn(fresh)
        raise


@contextmanager
def trouble_told(where: Path) -> Iterator[None]:
    """Turn a full or failing disk, while a session's files are made, into a Refusal that names the place."""
    try:
        yield
    except OSError as error:
        what = f"{where}: the session's files cannot be made there: {error.strerror}"
        raise Refusal(ExitCode.RESOURCES, what, hint=f"make room there, or {bases.ELSEWHERE}") from None


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def _take_name(fresh: Path, folder: Path) -> None:
    try:
        fresh.rename(folder)
    except OSError as error:
        raise Refusal(
            ExitCode.USAGE,
            f"{folder}: the session's folder cannot be made: {error.strerror}",
            hint="choose another --name",
        ) from None


def alive(*where: Path) -> list[Path]:
    """Folders of running sessions in these bases, oldest first in each."""
    folders = (folder for base in where for folder in _entries(base))
    return [folder for folder in folders if not folder.name.startswith(".") and is_alive(folder)]


def failures(where: Path) -> list[Path]:
    """What failed sessions left for their user to look at, oldest first."""
    return [folder for folder in _entries(where) if _is_failure(folder)]


def _is_failure(folder: Path) -> bool:
    return folder.name.startswith(_FAILED) and is_marked(folder)


def _entries(where: Path) -> list[Path]:
    """The folders in there, oldest first. What goes meanwhile is left out."""
    by_mtime = []
    with suppress(OSError), os.scandir(where) as entries:
        for entry in entries:
            with suppress(OSError):
                if entry.is_dir(follow_symlinks=False):
                    by_mtime.append((entry.stat(follow_symlinks=False).st_mtime, Path(entry.path)))
    return [path for _, path in sorted(by_mtime)]


def remove_leftovers(where: Path, *, failed_too: bool = False) -> list[Path]:
    """Remove folders whose supervisor is gone, and all but the newest failures. Returns what was removed."""
    removed = []
    entries = _entries(where)
    kept = [] if failed_too else [folder for folder in entries if _is_failure(folder)][-_KEPT_FAILURES:]
    for folder in entries:
        if folder in kept or is_alive(folder):
            continue
        if is_marked(folder):
            folder_lock.remove_dead(folder)
        elif folder.name.startswith(_NEW) and _age(folder) > _MAKING_SECONDS:
            folder_lock.remove_unborn(folder)
        if not folder.exists():
            removed.append(folder)
    return removed


def _age(folder: Path) -> float:
    with suppress(OSError):
        return time.time() - folder.lstat().st_mtime
    return 0.0


def kept_logs(folder: Path) -> Path:
    """Where a session's logs will be when it has failed."""
    return _kept(folder) / "logs"


def _kept(folder: Path) -> Path:
    return folder.with_name(f"{_FAILED}{folder.name}")


def keep_failure(folder: Path) -> Path:
    """Save what explains a failure (state, logs, last screen; no secret, no disk) and return its place."""
    kept = _kept(folder)
    if is_marked(kept):
        shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(mode=0o700)
    (kept / LOCK).write_bytes(folder_lock.MARK)
    for name in (STATE, shared_files.SCREEN):
        _keep(folder, name, kept)
    with suppress(OSError):
        (kept / shared_files.LOGS).mkdir(mode=0o700)
        for entry in sorted((folder / shared_files.LOGS).iterdir()):
            _keep(folder, shared_files.LOGS / entry.name, kept)
    return kept


def _keep(folder: Path, name: str | Path, kept: Path) -> None:
    """The last of what is in a file: some of them can be written to inside. Not every failure has a screen."""
    with suppress(OSError):
        content = foreign_files.tail(folder, name, _MOST_KEPT)
        if content or name != shared_files.SCREEN:
            atomic.replace(kept / name, content)


def find(where: Sequence[Path], name: str, start: str = "7lbd run") -> Path:
    """The folder of the running session `name`, or of the only one, in these bases. `start` is how one is made.

    Raises Refusal.
    """
    running = alive(*where)
    names = ", ".join(folder.name for folder in running)
    if name:
        running = [folder for folder in running if folder.name == name]
    if len(running) == 1:
        return running[0]
    if not names:
        looked = f" (looked in {', '.join(map(str, where))})" if where else ""
        what = f"no session of yours is running on {os.uname().nodename}{looked}"
        raise Refusal(ExitCode.NO_SESSION, what, hint=f"start one: {start}")
    what = f"there is no session `{name}`" if name and not running else "several sessions are running"
    raise Refusal(ExitCode.NO_SESSION, f"{what}; there are: {names}", hint="name one of them")


def read_state(folder: Path) -> state.SessionState | None:
    """The session's state, or None when it has just ended."""
    try:
        return state.read(folder / STATE)
    except (OSError, ValueError):
        return None
