"""Heartbeats: small files that say which process on which node is at something, and that go stale when it is gone.

They work where locks do not: across the nodes of a network file system. A heartbeat is made by O_EXCL, which NFS keeps
since version 3 (RFC 1813, section 3.3.8), and renewed by its mtime, which the file server writes. Their folder may
be anybody's to write to: nothing that is read here is trusted, followed, or waited for.
"""

from __future__ import annotations

import json
import os
import pwd
import secrets
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from .errors import visible

RENEW_SECONDS = 600.0  # six times in STALE_SECONDS: the file server may be away for a few of them
STALE_SECONDS = 3600.0
"""A heartbeat that was not renewed for so long is nobody's any more."""
_LEAST_STALE = 60.0  # seconds; whoever promises to come back sooner than that is late on any busy server
_GOODBYE_SECONDS = 1.0  # a renewal takes milliseconds while the file server answers
# The owner of files whose real owner a user namespace does not know (user_namespaces(7)).
_NOBODY = 65534
_MAX_BYTES = 2048  # a guess: a note has some hundred
_MAX_TEXT = 64  # characters; a node's name has no more (gethostname(2), HOST_NAME_MAX)
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True)
class HeartbeatPace:
    """How often a heartbeat is renewed, and when one that was not is nobody's any more, in seconds. It tells so."""

    renew: float = RENEW_SECONDS
    stale: float = STALE_SECONDS


_USUAL = HeartbeatPace()


@dataclass(frozen=True)
class Heartbeat:
    """What a heartbeat says. `boot` and `space` tell whether `pid` means anything to us; `seen` is the file's mtime."""

    host: str
    user: str
    note: str
    boot: str
    space: int
    pid: int
    born: int
    since: float
    seen: float
    stale: float = STALE_SECONDS
    """Not renewed for so long, it is nobody's."""

    def __str__(self) -> str:
        who = f"{self.note} of {self.user}" if self.note else f"{self.user}, process {self.pid}"
        return f"{who} on {self.host}, since {time.strftime('%Y-%m-%d %H:%M', time.localtime(self.since))}"


Taken = Callable[[Heartbeat], None]


@contextmanager
def kept(path: Path, note: str = "", pace: HeartbeatPace = _USUAL, taken: Taken = lambda _: None) -> Iterator[None]:
    """A heartbeat of this process at `path`, renewed until the end; `taken` hears, from a thread, of who took its
    place, for whom ours was stale. Raises OSError when it cannot be made."""
    place(path, note, pace)
    over = threading.Event()
    renewing = threading.Thread(target=_renew, args=(path, note, pace, taken, over), daemon=True)
    renewing.start()
    try:
        yield
    finally:
        over.set()
        renewing.join(_GOODBYE_SECONDS)  # not for ever: the file server may be out of reach
        if not is_anothers(path):
            with suppress(OSError):
                path.unlink()


def place(path: Path, note: str = "", pace: HeartbeatPace = _USUAL) -> None:
    """Make a heartbeat of this process. Raises FileExistsError when there is one, or another OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o644)
    try:
        os.fchmod(descriptor, 0o644)  # whatever the umask: others must see whose it is
        with suppress(OSError):  # a full disk: the bare file still marks, until it is stale by time
            os.write(descriptor, _ours(note, pace))
    finally:
        os.close(descriptor)


def take_away(path: Path, is_over: Callable[[Heartbeat], bool] = lambda _: False) -> None:
    """Remove one that is stale, or whose owner is known to be over.

    By a rename first, so that of two who find it stale only one takes it away.
    """
    beat = read(path)
    if beat is None or not (is_stale(beat, clock(path.parent)) or is_over(beat)):
        return
    aside = path.with_name(f"{path.name}-{os.getpid()}-{time.monotonic_ns()}")
    with suppress(OSError):
        path.rename(aside)
        taken = read(aside)
        if taken and taken != beat:
            os.link(aside, path)
        aside.unlink()


def read(path: Path) -> Heartbeat | None:
    """The heartbeat at `path`, or None when no plain file is there. One that says nothing is still a heartbeat."""
    try:
        descriptor = os.open(path, _OPEN)
    except OSError:
        return None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return None
        return _understood(os.read(descriptor, _MAX_BYTES), status)
    except OSError:
        return None
    finally:
        os.close(descriptor)


def is_stale(beat: Heartbeat, now: float) -> bool:
    """Whether nobody stands behind it any more: its process on this node is gone, or it was not renewed."""
    if abs(now - beat.seen) > beat.stale:
        return True
    return (beat.boot, beat.space) == (_boot(), _space()) and not _runs(beat.pid, beat.born)


def lives_here(beat: Heartbeat) -> bool:
    """Whether its process is one of this node's, and runs."""
    return (beat.boot, beat.space) == (_boot(), _space()) and _runs(beat.pid, beat.born)


def is_anothers(path: Path) -> bool:
    """Whether somebody took ours for stale, and has made another: who was cut off for long comes back to that."""
    beat = read(path)
    return beat is not None and beat.pid > 0 and (beat.boot, beat.space, beat.pid) != (_boot(), _space(), os.getpid())


def clock(folder: Path) -> float:
    """The time as the file system of `folder` tells it: a file server's clock is not ours."""
    probe = folder / f".probe-{secrets.token_hex(8)}"
    try:
        descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError:
        return time.time()
    try:
        return os.fstat(descriptor).st_mtime
    finally:
        os.close(descriptor)
        with suppress(OSError):
            probe.unlink()


def user_name() -> str:
    """Who we are, for people."""
    return _name_of(os.getuid())


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid{uid}"


def _renew(path: Path, note: str, pace: HeartbeatPace, taken: Taken, over: threading.Event) -> None:
    while not over.wait(pace.renew):
        try:
            if is_anothers(path) and (beat := read(path)):
                taken(beat)
                return
            os.utime(path, follow_symlinks=False)
        except FileNotFoundError:  # swept away while the file server was out of reach
            with suppress(OSError):
                place(path, note, pace)
        except OSError:
            continue


def _ours(note: str, pace: HeartbeatPace) -> bytes:
    said = {
        "host": os.uname().nodename,
        "user": user_name(),
        "note": note,
        "boot": _boot(),
        "space": _space(),
        "pid": os.getpid(),
        "born": _born(os.getpid()),
        "since": time.time(),
        "stale": pace.stale,
    }
    return json.dumps(said).encode() + b"\n"


def _understood(raw: bytes, status: os.stat_result) -> Heartbeat:
    try:
        said = json.loads(raw)
    except (ValueError, RecursionError):
        said = None
    said = said if isinstance(said, dict) else {}
    since = _number(said.get("since")) or status.st_mtime
    return Heartbeat(
        host=_text(said.get("host")) or "a node unknown",
        user=_user(_text(said.get("user")), status.st_uid),
        note=_text(said.get("note")),
        boot=_text(said.get("boot")),
        space=int(_number(said.get("space"))),
        pid=int(_number(said.get("pid"))),
        born=int(_number(said.get("born"))),
        since=since,
        seen=status.st_mtime,
        stale=min(max(_number(said.get("stale")) or STALE_SECONDS, _LEAST_STALE), STALE_SECONDS),
    )


def _user(said: str, uid: int) -> str:
    """Who it is by his own word, and by the file's owner when he is another. Containers do not show all owners."""
    owner = "" if uid == _NOBODY else _name_of(uid)
    if not said:
        return owner or "somebody"
    return said if owner in ("", said) else f"{said} (in a file of {owner})"


def _text(value: object) -> str:
    return visible(value[:_MAX_TEXT]) if isinstance(value, str) else ""


def _number(value: object) -> float:
    """A plausible number, or 0: a time until the year 9999, an inode, a PID."""
    return float(value) if isinstance(value, int | float) and 0 < value < 2.5e11 else 0.0


def _boot() -> str:
    """This kernel's life, the same in every container on it (random(4))."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


def _space() -> int:
    """The PID namespace (namespaces(7)): a PID of another one says nothing here."""
    with suppress(OSError):
        return Path("/proc/self/ns/pid").stat().st_ino
    return 0


def _runs(pid: int, born: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return _born(pid) in (born, 0)


def _born(pid: int) -> int:
    """When a process began, in ticks since boot (proc_pid_stat(5)); 0 when hidden, -1 when only a zombie is left."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return -1 if fields[0] in "ZX" else int(fields[19])
    except (OSError, ValueError, IndexError):
        return 0
