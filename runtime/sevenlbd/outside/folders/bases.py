"""Where a user's session folders are: the base, chosen so that somebody else can neither read, swap nor withhold it.

In a folder that all may write to, such as /tmp, anybody can be there first with the name that we would take. Then
another is taken, with an end that nobody can guess; and who looks for sessions looks into all that are the user's own.
Not /run/user/UID: it goes when the user's last log-in ends, and jobs have none.
"""

from __future__ import annotations

import os
import re
import secrets
import shlex
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from ...base.errors import ExitCode, Refusal
from ...base.paths import is_folder, user_path

ELSEWHERE = "choose another place: --session-dir DIR"
_TEMPORARY = ("_CONDOR_SCRATCH_DIR", "SLURM_TMPDIR", "FLUX_JOB_TMPDIR", "TMPDIR")
_SUFFIX = re.compile(r"-[0-9a-f]{8}")


def base(session_dir: str, environment: Mapping[str, str]) -> Path:
    """Where the folder of this user's next session goes. It need not exist yet."""
    if session_dir:
        return user_path(session_dir).absolute()
    usual = _usual(environment)
    if _is_ours(usual):
        return usual
    if others := _others(usual):
        return others[0]
    return usual.with_name(f"{usual.name}-{secrets.token_hex(4)}") if _is_there(usual) else usual


def all_bases(session_dir: str, environment: Mapping[str, str]) -> tuple[Path, ...]:
    """Every folder in which sessions of this user may be; the usual one first, even if it is not there.

    One that somebody else put there is not among them. Raises Refusal when the user names such a one.
    """
    if session_dir:
        named = user_path(session_dir).absolute()
        check_owned(named)
        return (named,)
    usual = _usual(environment)
    others = _others(usual)
    if _is_ours(usual) or not (others or _is_there(usual)):
        return (usual, *others)
    return tuple(others)


def temporary(environment: Mapping[str, str]) -> Path:
    """The folder for what does not outlive the job: where there is one for each, it is told."""
    for name in _TEMPORARY:
        if environment.get(name) and is_folder(Path(environment[name])):
            return Path(environment[name])
    return Path("/tmp")


def hidden(environment: Mapping[str, str]) -> list[str]:
    """Sentences on folders of the job's or the user's that the container does not show, so that others are taken."""
    sentences = []
    for name in _TEMPORARY:
        folder = environment.get(name, "")
        if folder and is_folder(Path(folder)):
            break
        if folder:
            taken = temporary(environment)
            sentences.append(
                f"{name}={folder} is not a folder that the container shows, so {taken} is used: "
                f"apptainer run --bind {shlex.quote(folder)} ..."
            )
    return sentences


def check_base(folder: Path) -> None:
    """Refuse a base folder that somebody else could read or swap. Raises Refusal."""
    if any(c == "%" or not c.isprintable() for c in str(folder)):
        raise Refusal(
            ExitCode.RESOURCES,
            f"{str(folder)!r}: has a `%` or a character that is not printable, which the servers' logs cannot bear",
            hint=ELSEWHERE,
        )
    parent = folder
    while not _is_there(parent):
        parent = parent.parent
    if parent == folder:
        check_owned(folder)
    if _is_barred(parent):
        why = "it is not writable for you" if parent == folder else f"{parent} is not a folder that you can write to"
        raise Refusal(
            ExitCode.RESOURCES, f"{folder}: no session's folder can be made there, because {why}", hint=ELSEWHERE
        )


def check_owned(folder: Path) -> None:
    """Refuse a base folder, if there is one, that somebody else could read or swap. Raises Refusal."""
    try:
        status = folder.lstat()
    except OSError:
        return
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise Refusal(
            ExitCode.RESOURCES,
            f"{folder}: is not a folder of yours; somebody else may have put it there",
            hint=ELSEWHERE,
        )
    if status.st_mode & 0o077:
        raise Refusal(
            ExitCode.RESOURCES, f"{folder}: others may enter it", hint=f"chmod 700 {shlex.quote(str(folder))}"
        )


def _usual(environment: Mapping[str, str]) -> Path:
    return temporary(environment).absolute() / f"7lbd-{os.getuid()}"


def _others(usual: Path) -> list[Path]:
    """Bases that were taken because somebody else had the usual one."""
    with suppress(OSError), os.scandir(usual.parent) as entries:
        names = [entry.name for entry in entries if entry.name.startswith(usual.name)]
        bases = [usual.with_name(name) for name in sorted(names) if _SUFFIX.fullmatch(name.removeprefix(usual.name))]
        return [path for path in bases if _is_ours(path, alone=True)]
    return []


def _is_ours(path: Path, *, alone: bool = False) -> bool:
    with suppress(OSError):
        status = path.lstat()
        ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()
        return ours and not (alone and status.st_mode & 0o077)
    return False


def _is_barred(folder: Path) -> bool:
    """Whether it is there, and we may not write to it.

    The last session to end takes an empty base along, at any moment, and the next one makes it anew: such a one is not.
    """
    with suppress(OSError):
        before = folder.lstat()
        if not os.access(folder, os.W_OK | os.X_OK):
            after = folder.lstat()
            return (before.st_ino, before.st_ctime_ns) == (after.st_ino, after.st_ctime_ns)
    return False


def _is_there(path: Path) -> bool:
    with suppress(OSError):
        path.lstat()
        return True
    return path == path.parent
