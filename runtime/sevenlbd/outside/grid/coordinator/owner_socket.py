"""What the machine's owner sees and orders, whoever she is on it: a socket that all of the machine's users may use.

She need be neither the coordinator's user nor root: whoever can log in here may look, and may take the machine back.
To lend it again is for who took it, as far as the kernel tells users apart here, and for the coordinator's own.
Nobody can have anything started by it.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import socket
import stat
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ....wire.codec import Codec, Malformed, Printable

PLACE, SOCKET = "7lbd-grid-", ".sock"
"""A folder of each user, and in it a socket of each of his coordinators, which are several in several state folders.

Where somebody else has made something of its name, a folder beside it: PLACE, the user, a dash, and chance.
"""
TEMPORARY = Path("/tmp")
"""Seen by all users, whatever their TMPDIR."""
_FRESH, _FRESH_SECONDS = ".new", 60.0  # a socket in which nobody listens yet; a guess: that takes no time
_SECONDS = 5.0  # who connects has his order ready
_MOST_ORDER = 4 << 10  # bytes; an order is a line of some hundred
_PAUSE = 0.2  # seconds until there may be room for one more who calls; a guess
_TRIES = 5  # a guess: how often another one of ours may begin or end just then
_CALLERS = 64  # who are heard at a time; a guess: people who look are a few, and the rest is somebody's flood
_BACKLOG = 128  # calls that wait to be taken, which takes no time; a guess
_PUBLIC, _FOR_ALL = 0o755, 0o666  # who may ask finds the socket by listing its folder, and writes to it


@dataclass(frozen=True)
class OwnerCall:
    """What somebody wants: `show`, `pause`, `resume`. `who` is for people, and proves nothing."""

    order: Printable
    who: Printable = ""
    at_once: bool = True
    seconds: float = 0.0


CALLS: Codec[OwnerCall] = Codec(OwnerCall)
type Answer = Callable[[OwnerCall, bool], dict[str, object]]
"""To an order, and whether it is the coordinator's own user's."""


@contextmanager
def served(answer: Answer, temporary: Path = TEMPORARY) -> Iterator[str]:
    """Answer until the end. Yields why that cannot be, or nothing: a coordinator works without it, too."""
    try:
        place, listener = _found(temporary)
    except OSError as error:
        yield f"{temporary}: {error.strerror}: the machine's owner cannot ask by `7lbd grid show` and `pause`"
        return
    with listener:
        threading.Thread(target=_serve, args=(listener, answer), daemon=True, name="owner").start()
        try:
            yield ""
        finally:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # who waits in there for a caller is told
                _own(place).unlink()
                place.rmdir()


def _found(temporary: Path) -> tuple[Path, socket.socket]:
    """Our folder there, and who listens in it. Raises OSError."""
    for _ in range(_TRIES):
        with suppress(FileNotFoundError):  # another one of ours has just swept it away
            place = _place(temporary)
            return place, _bound(place)
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(temporary))


def _place(temporary: Path) -> Path:
    """Our folder there, made; nobody can keep us from having one by having its name. Raises OSError."""
    usual = temporary / f"{PLACE}{os.getuid()}"
    for place in (usual, *temporary.glob(f"{usual.name}-*")):
        _sweep(place)
    for place in (usual, temporary / f"{usual.name}-{secrets.token_hex(8)}"):
        with suppress(FileExistsError):
            place.mkdir(mode=_PUBLIC)
        if _is_ours(place):
            place.chmod(_PUBLIC)
            return place
    raise OSError(errno.EEXIST, os.strerror(errno.EEXIST), str(usual))


def _is_ours(place: Path) -> bool:
    status = place.lstat()
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()


def _bound(place: Path) -> socket.socket:
    """Raises OSError."""
    own = _own(place)
    fresh = own.with_suffix(_FRESH)
    if own.exists():
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE), str(own))
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(str(fresh))
        fresh.chmod(_FOR_ALL)
        listener.listen(_BACKLOG)
        fresh.rename(own)  # not before: who sweeps takes one for dead in which nobody listens
    except BaseException:
        listener.close()
        raise
    return listener


def _own(place: Path) -> Path:
    return place / f"{os.getpid()}{SOCKET}"


def _sweep(place: Path) -> None:
    """Remove what killed coordinators of ours have left: nobody listens there."""
    with suppress(OSError):
        if _is_ours(place):
            for path in place.glob(f"*{SOCKET}"):
                _remove_dead(path)
            for path in place.glob(f"*{_FRESH}"):
                if time.time() - path.lstat().st_mtime > _FRESH_SECONDS:
                    path.unlink()
            place.rmdir()


def _remove_dead(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as wire, suppress(FileNotFoundError):
        wire.settimeout(_SECONDS)
        try:
            wire.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
        except OSError:
            return


def _serve(listener: socket.socket, answer: Answer) -> None:
    """All at once: who calls and says nothing keeps nobody from being heard, and when too many do, the first goes."""
    callers: dict[socket.socket, None] = {}
    while True:
        try:
            wire, _ = listener.accept()
        except OSError:
            if listener.fileno() < 0:
                return  # it was closed
            time.sleep(_PAUSE)  # there is no room for one more
            continue
        callers[wire] = None
        for silent in list(callers)[:-_CALLERS]:
            with suppress(OSError):
                silent.shutdown(socket.SHUT_RDWR)
        try:
            threading.Thread(target=_hear, args=(wire, answer, callers), daemon=True).start()
        except RuntimeError:  # there are too many threads of this user's
            callers.pop(wire)
            wire.close()


def _hear(wire: socket.socket, answer: Answer, callers: dict[socket.socket, None]) -> None:
    """One of them: he has some seconds."""
    try:
        with wire, suppress(OSError, Malformed):
            wire.settimeout(_SECONDS)
            call = CALLS.unpack(_line(wire))
            wire.sendall(json.dumps(answer(call, _is_own(wire))).encode() + b"\n")
    finally:
        callers.pop(wire, None)


def _line(wire: socket.socket) -> bytes:
    content = b""
    while b"\n" not in content and len(content) <= _MOST_ORDER:
        piece = wire.recv(_MOST_ORDER)
        if not piece:
            break
        content += piece
    return content[:_MOST_ORDER]


def _is_own(wire: socket.socket) -> bool:
    """Whether who calls is our user."""
    return peer(wire)[1] == os.getuid()


def peer(wire: socket.socket) -> tuple[int, int]:
    """Process and user at the other end (unix(7), SO_PEERCRED: pid, uid, gid)."""
    credentials = struct.Struct("iII")
    pid, uid, _ = credentials.unpack(wire.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, credentials.size))
    return pid, uid
