"""Session folders: made, found, told alive from left over, and removed. It is the only writer below the base.

The base may be any folder of the user's, with other things in it: nothing is removed that does not bear our mark.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shlex
import shutil
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from .. import atomic, foreign, shared_files, state
from ..errors import ExitCode, Refusal
from ..paths import user_path

LOCK = "lock"
STATE = "session.json"
CREDENTIALS = "credentials.json"
CONTROL = "control.sock"
_TEMPORARY = ("SLURM_TMPDIR", "TMPDIR")
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")
# sun_path of unix(7) holds 108 bytes with its end mark; the longest socket here is control.sock.
_MAX_PATH = 107 - len(f"/{CONTROL}")
_KEPT_FAILURES = 5
# Of each file: logs begin anew at 4 MiB, and a screen of 4K without compression has 32.
_MOST_KEPT = 32 << 20
# A folder without its lock yet is given up after this long.
_MAKING_SECONDS = 60
_FAILED = "failed-"
_NEW = ".new-"
# The first bytes of the lock file of every folder that is ours to remove.
_MARK = b"7lbd session\n"
_ELSEWHERE = "choose another place: --session-dir DIR"


def base(wanted: str, environment: Mapping[str, str]) -> Path:
    """Where this user's session folders are. The folder need not exist yet."""
    if wanted:
        return user_path(wanted).absolute()
    return temporary(environment).absolute() / f"7lbd-{os.getuid()}"


def temporary(environment: Mapping[str, str]) -> Path:
    """The folder for what does not outlive the job: where sites make one for each, they tell it in SLURM_TMPDIR."""
    for name in _TEMPORARY:
        if environment.get(name) and Path(environment[name]).is_dir():
            return Path(environment[name])
    return Path("/tmp")


def hidden(environment: Mapping[str, str]) -> list[str]:
    """Sentences on folders of the job's or the user's that the container does not show, so that others are taken."""
    told = []
    for name in _TEMPORARY:
        wanted = environment.get(name, "")
        if wanted and Path(wanted).is_dir():
            break
        if wanted:
            taken = temporary(environment)
            told.append(
                f"{name}={wanted} is not a folder that the container shows, so {taken} is used: "
                f"apptainer run --bind {shlex.quote(wanted)} ..."
            )
    return told


def check_base(folder: Path) -> None:
    """Refuse a base folder that somebody else could read or swap. Raises Refusal."""
    if any(c == "%" or not c.isprintable() for c in str(folder)):
        raise Refusal(
            ExitCode.RESOURCES,
            f"{str(folder)!r}: has a `%` or a character that is not printable, which the servers' logs cannot bear",
            hint=_ELSEWHERE,
        )
    parent = folder
    while not _is_there(parent):
        parent = parent.parent
    if parent == folder:
        check_owned(folder)
    if not os.access(parent, os.W_OK | os.X_OK):
        why = "it is not writable for you" if parent == folder else f"{parent} is not a folder that you can write to"
        raise Refusal(
            ExitCode.RESOURCES, f"{folder}: no session's folder can be made there, because {why}", hint=_ELSEWHERE
        )


def check_owned(folder: Path) -> None:
    """Refuse a base folder, if there is one, that somebody else could read or swap. Raises Refusal."""
    try:
        found = folder.lstat()
    except OSError:
        return
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise Refusal(
            ExitCode.RESOURCES,
            f"{folder}: is not a folder of yours; somebody else may have put it there",
            hint=_ELSEWHERE,
        )
    if found.st_mode & 0o077:
        raise Refusal(
            ExitCode.RESOURCES, f"{folder}: others may enter it", hint=f"chmod 700 {shlex.quote(str(folder))}"
        )


def _is_there(path: Path) -> bool:
    with suppress(OSError):
        path.lstat()
        return True
    return path == path.parent


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

    Its lock (flock(2)) goes with the process, even with SIGKILL: that is how others know. Raises Refusal.
    """
    with trouble_told(where):
        where.mkdir(mode=0o700, parents=True, exist_ok=True)
        check_base(where)
        remove_leftovers(where)
        fresh = where / f"{_NEW}{new_name()}"
        fresh.mkdir(mode=0o700)
    with ExitStack() as undo:
        undo.callback(_remove_empty, where)
        undo.callback(_remove_empty, fresh)
        with trouble_told(where):
            lock = os.open(fresh / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            undo.callback(os.close, lock)
            for left in (fresh, where / name):
                undo.callback(_remove_if_locked_by, lock, left)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(lock, _MARK)
            (fresh / shared_files.LOGS).mkdir(mode=0o700)
        _take_name(fresh, where / name)
        yield where / name


@contextmanager
def trouble_told(where: Path) -> Iterator[None]:
    """Turn a full or failing disk, while a session's files are made, into a Refusal that names the place."""
    try:
        yield
    except OSError as error:
        what = f"{where}: the session's files cannot be made there: {error.strerror}"
        raise Refusal(ExitCode.RESOURCES, what, hint=f"make room there, or {_ELSEWHERE}") from None


def _remove_if_locked_by(lock: int, folder: Path) -> None:
    if _owns(lock, folder):
        shutil.rmtree(folder, ignore_errors=True)


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
    return [folder for folder in _entries(where) if folder.name.startswith(_FAILED) and _is_marked(folder)]


def _entries(where: Path) -> list[Path]:
    with suppress(OSError):
        folders = (path for path in where.iterdir() if path.is_dir() and not path.is_symlink())
        return sorted(folders, key=lambda path: path.lstat().st_mtime)
    return []


def remove_leftovers(where: Path, *, failed_too: bool = False) -> list[Path]:
    """Remove folders whose supervisor is gone, and all but the newest failures. Returns what was removed."""
    removed = []
    kept = [] if failed_too else failures(where)[-_KEPT_FAILURES:]
    for folder in _entries(where):
        if folder in kept or is_alive(folder):
            continue
        if _is_marked(folder):
            shutil.rmtree(folder, ignore_errors=True)
        elif folder.name.startswith(_NEW) and time.time() - folder.lstat().st_mtime > _MAKING_SECONDS:
            _remove_empty(folder)
        if not folder.exists():
            removed.append(folder)
    return removed


def _is_marked(folder: Path) -> bool:
    """Whether we made this folder: the user may keep other things beside."""
    with suppress(OSError):
        lock = os.open(folder / LOCK, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            return os.read(lock, len(_MARK)) == _MARK
        finally:
            os.close(lock)
    return False


def kept_logs(folder: Path) -> Path:
    """Where a session's logs will be when it has failed."""
    return _kept(folder) / "logs"


def _kept(folder: Path) -> Path:
    return folder.with_name(f"{_FAILED}{folder.name}")


def keep_failure(folder: Path) -> Path:
    """Save what explains a failure (state, logs, last screen; no secret, no disk) and return its place."""
    kept = _kept(folder)
    if _is_marked(kept):
        shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(mode=0o700)
    (kept / LOCK).write_bytes(_MARK)
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
        content = foreign.tail(folder, name, _MOST_KEPT)
        if content or name != shared_files.SCREEN:
            atomic.replace(kept / name, content)


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
