"""The register: what sessions say of themselves in a folder that all nodes see, as files that can be trusted.

One folder a session: `session.json`; `connection`, the key to its page, readable for the user only; and a heartbeat
that says which process stands behind it. The folder that holds them must be the user's alone: nobody else may write
what `stop` acts on and `connect` shows. Here is what is in the files; when they are written is the announcer's affair.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ...base import atomic, foreign_files, heartbeat
from ...base.errors import Refusal
from ...base.heartbeat import Heartbeat
from ...base.paths import is_folder, user_path
from ...wire import state
from ...wire.state import SessionState
from ..access.credentials import ROLES, Credentials
from ..folders import session_folders

if TYPE_CHECKING:
    from ...config.settings import Settings

SESSIONS = "sessions"
CONNECTION = "connection"
MARK = "mark"
OFF = "off"
_ENTRY = re.compile(r"[a-z0-9][a-z0-9-]{0,30}@[A-Za-z0-9._-]{1,255}")
_MOST = 1000  # entries that are looked at; a guess: a user has a few sessions
_MAX_CONNECTION = 64 << 10  # bytes; a guess: a handful of short lines
_KEY = re.compile(r"k[a-z2-7]{20,100}")


@dataclass(frozen=True)
class PresenceTarget:
    """A folder in which a session leaves a record."""

    folder: Path
    portal: bool
    """A portal's own folder for this one session: the key comes when the desktop is ready, the last word stays."""
    key: bool
    """Whether the key to the page is left, too."""


@dataclass(frozen=True)
class PresenceRecord:
    """What a session left: `stale` when nobody stands behind it any more, as far as its heartbeat tells."""

    state: SessionState
    folder: Path
    stale: bool


def where(state_dir: str, environment: Mapping[str, str]) -> Path | None:
    """The user's register; None when there is to be none, or no home to have it in. Nothing is looked at."""
    if state_dir == OFF:
        return None
    if state_dir:
        return user_path(state_dir).absolute() / SESSIONS
    # Relative paths are to be ignored (XDG Base Directory Specification).
    homes = (environment.get("XDG_STATE_HOME", ""), f"{environment.get('HOME', '')}/.local/state")
    absolute = [home for home in homes if home.startswith("/") and home != "/.local/state"]
    return Path(absolute[0]) / "7lbd" / SESSIONS if absolute else None


def targets(settings: Settings, environment: Mapping[str, str], session: str) -> tuple[PresenceTarget, ...]:
    """Where a session of this name leaves a record. Touches no file: a file server that hangs must hold up no start."""
    entries = []
    if shared := where(settings.state_dir, environment):
        entries.append(
            PresenceTarget(shared / f"{session}@{os.uname().nodename}", portal=False, key=settings.share_access)
        )
    if settings.report_dir:
        entries.append(PresenceTarget(user_path(settings.report_dir).absolute(), portal=True, key=True))
    return tuple(entries)


def enter(target: PresenceTarget) -> None:
    """Make the place, without what an earlier life of the same job left in it. Raises OSError."""
    if target.portal:
        target.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (target.folder / CONNECTION).unlink(missing_ok=True)
        return
    target.folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _check_ours(target.folder.parent)
    shutil.rmtree(target.folder, ignore_errors=True)
    target.folder.mkdir(mode=0o700)
    heartbeat.place(target.folder / MARK, f"session {target.folder.name}")


def usable(register: Path | None) -> str:
    """Make the register, if it is not there, and say why it cannot be used; or nothing. None is nobody's wish."""
    if register is None:
        return "there is to be none (state_dir)"
    try:
        register.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_ours(register)
    except OSError as error:
        return f"{error.filename or register}: {error.strerror}"
    return ""


def refused(report: Path, refusal: Refusal) -> None:
    """Tell a portal that there is no session, and why. Where that cannot be written, it has the job's output."""
    report_state = {"phase": state.Phase.FAILED, "reason": refusal.what, "hint": refusal.hint}
    with suppress(OSError):
        report.mkdir(mode=0o700, parents=True, exist_ok=True)
        (report / CONNECTION).unlink(missing_ok=True)
        atomic.replace(report / session_folders.STATE, json.dumps(report_state).encode())


def leave(target: PresenceTarget) -> None:
    """At the end nothing stays, but for a portal the last word; never a key. Raises OSError."""
    if target.portal:
        (target.folder / CONNECTION).unlink(missing_ok=True)
        return
    beat = heartbeat.read(target.folder / MARK)
    if beat and beat.pid == os.getpid():  # or else a session of the same name has taken our place
        shutil.rmtree(target.folder)


def renew(target: PresenceTarget) -> None:
    """Say that somebody still stands behind it. Raises OSError."""
    if not target.portal:
        os.utime(target.folder / MARK)


def write_connection(target: PresenceTarget, text: str) -> None:
    """Leave the key (`connection`), mode 0600, in one step. Raises OSError."""
    atomic.replace(target.folder / CONNECTION, text.encode())


def connection(session: SessionState, access: Credentials) -> str:
    """How to reach the page, in lines of key=value: words of letters, digits, `.` and `-`, which shells leave alone."""
    page = urlsplit(session.url)
    pairs = {
        "id": session.id,
        "host": session.host,
        "port": str(page.port or 0),
        "scheme": page.scheme or "none",
        "token": access.tokens["desktop"],
        "console_token": access.tokens["console"] if session.console else "none",
        "status_token": access.tokens["status"],
        "rdp_port": str(session.native_port),
        "job": session.job or "none",
    }
    return "".join(f"{key}={value}\n" for key, value in pairs.items())


def tokens(record: Path) -> dict[str, str]:
    """The keys to the page of a session elsewhere, by role; none when it did not leave any."""
    try:
        lines = foreign_files.read(record, CONNECTION, _MAX_CONNECTION).decode().splitlines()
    except (OSError, ValueError):
        return {}
    pairs = dict(line.partition("=")[::2] for line in lines)
    names = {role: "token" if role == "desktop" else f"{role}_token" for role in ROLES}
    # What is no key of ours is nobody's: the file may lie in a share.
    return {role: pairs[name] for role, name in names.items() if _KEY.fullmatch(pairs.get(name, ""))}


def records(register: Path | None) -> list[PresenceRecord]:
    """Every session that left word, oldest first; none when the register is not ours alone."""
    if register is None or not is_folder(register):
        return []
    try:
        _check_ours(register)
        return sorted(_read(register), key=lambda record: record.state.started)
    except OSError:
        return []


def sweep(register: Path | None) -> list[PresenceRecord]:
    """Remove the records that are stale by their heartbeat; returns them."""
    gone = [record for record in records(register) if record.stale]
    for record in gone:
        remove(record)
    return gone


def remove(record: PresenceRecord) -> None:
    shutil.rmtree(record.folder, ignore_errors=True)


def _read(register: Path) -> Iterator[PresenceRecord]:
    with os.scandir(register) as entries:
        names = [entry.name for entry, _ in zip(entries, range(_MOST), strict=False) if _ENTRY.fullmatch(entry.name)]
    for name in names:
        folder = register / name
        with suppress(OSError, ValueError):
            session = state.read(folder / session_folders.STATE)
            if f"{session.id}@{session.host}" == name:
                yield PresenceRecord(session, folder, _is_stale(register, heartbeat.read(folder / MARK)))


def _is_stale(register: Path, beat: Heartbeat | None) -> bool:
    """By our own clock first: to ask the file server for its own costs a file."""
    if beat is None:
        return True
    return heartbeat.is_stale(beat, time.time()) and heartbeat.is_stale(beat, heartbeat.clock(register))


def _check_ours(register: Path) -> None:
    status = register.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise PermissionError(1, "it is not a folder of yours alone (chmod 700)", str(register))
