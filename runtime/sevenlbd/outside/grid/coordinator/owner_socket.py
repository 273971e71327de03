"""What the machine's owner sees and orders, whoever she is on it: a socket that all of the machine's users may use.

She need be neither the coordinator's user nor root: whoever can log in here may look, and may take the machine back.
To lend it again is for who took it, as far as the kernel tells users apart here, and for the coordinator's own.
Nobody can have anything started by it.
"""

from __future__ import annotations

import json
import os
import socket
import stat
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ....base.errors import ExitCode, Refusal
from ....wire.codec import Codec, Malformed, Printable

PLACE, SOCKET = "7lbd-grid-", ".sock"
"""A folder of each user, and in it a socket of each of his coordinators, which are several in several state folders."""
TEMPORARY = Path("/tmp")
"""Seen by all users, whatever their TMPDIR."""
_SECONDS = 5.0  # who connects has his order ready; and who waits for an answer is at a terminal
_MOST_ORDER, _MOST_ANSWER = 4 << 10, 4 << 20  # bytes; an order is a line of some hundred, an answer tells of all images
_AT_ONCE = 100  # sockets; a guess: a machine has one coordinator, or a few
_BACKLOG = 8  # a guess: more people do not look at once
_NOBODY = 65534  # whom a user namespace does not know (user_namespaces(7))


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
    place = temporary / f"{PLACE}{os.getuid()}"
    try:
        listener = _bound(place)
    except OSError as error:
        yield f"{place}: {error.strerror}: the machine's owner cannot ask by `7lbd grid show` and `pause`"
        return
    with listener:
        threading.Thread(target=_serve, args=(listener, answer), daemon=True, name="owner").start()
        try:
            yield ""
        finally:
            with suppress(OSError):
                _own(place).unlink()
                place.rmdir()


def _bound(place: Path) -> socket.socket:
    """Raises OSError, also when somebody else has the place."""
    with suppress(FileExistsError):
        place.mkdir(mode=0o711)
    status = place.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise OSError(1, "is somebody else's", str(place))
    place.chmod(0o711)
    _sweep(place)
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(str(_own(place)))
        _own(place).chmod(0o666)
        listener.listen(_BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def _own(place: Path) -> Path:
    return place / f"{os.getpid()}{SOCKET}"


def _sweep(place: Path) -> None:
    """Remove what killed coordinators have left: nobody listens there."""
    for path in place.glob(f"*{SOCKET}"):
        with socket.socket(socket.AF_UNIX) as wire, suppress(FileNotFoundError):
            wire.settimeout(_SECONDS)
            try:
                wire.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()
            except OSError:
                continue


def _serve(listener: socket.socket, answer: Answer) -> None:
    """One after another: each has some seconds."""
    while True:
        try:
            wire, _ = listener.accept()
        except OSError:
            return  # it was closed
        with wire, suppress(OSError, Malformed):
            wire.settimeout(_SECONDS)
            call = CALLS.unpack(_line(wire))
            wire.sendall(json.dumps(answer(call, _is_own(wire))).encode() + b"\n")


def _line(wire: socket.socket) -> bytes:
    content = b""
    while b"\n" not in content and len(content) <= _MOST_ORDER:
        piece = wire.recv(_MOST_ORDER)
        if not piece:
            break
        content += piece
    return content[:_MOST_ORDER]


def _is_own(wire: socket.socket) -> bool:
    """Whether who calls is our user (unix(7), SO_PEERCRED: pid, uid, gid)."""
    credentials = struct.Struct("iII")
    _, uid, _ = credentials.unpack(wire.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, credentials.size))
    return bool(uid == os.getuid())


def call(order: OwnerCall, temporary: Path = TEMPORARY) -> list[dict[str, object]]:
    """Ask every coordinator of this machine. Raises Refusal when there is none that answers."""
    places = [path for path in sorted(temporary.glob(f"{PLACE}*/*{SOCKET}")) if _is_coordinators(path.parent)]
    # All at once: whoever else makes such sockets, and does not answer there, must not keep the owner waiting.
    with ThreadPoolExecutor(_AT_ONCE) as asking:
        answers = list(asking.map(lambda path: _answer_of(path, order), places))
    found = [answer for answer in answers if isinstance(answer, dict)]
    if not found:
        silent = ", ".join(dict.fromkeys(filter(None, (answer for answer in answers if isinstance(answer, str)))))
        why = f": that of user {silent} does not answer" if silent else ""
        what = f"no coordinator of a grid runs on {os.uname().nodename}{why}"
        raise Refusal(ExitCode.NO_SESSION, what, hint="7lbd grid coordinator begins one")
    return found


def _answer_of(path: Path, order: OwnerCall) -> dict[str, object] | str:
    """Or whose coordinator does not answer; nothing for one that was killed, or has just ended."""
    try:
        return _asked(path, order)
    except (ConnectionRefusedError, FileNotFoundError):
        return ""
    except (OSError, ValueError, RecursionError):
        return path.parent.name.removeprefix(PLACE)


def _is_coordinators(place: Path) -> bool:
    """Whether the folder is that of the user that its name says, as far as can be told from here."""
    with suppress(OSError, ValueError):
        status, uid = place.lstat(), int(place.name.removeprefix(PLACE))
        return stat.S_ISDIR(status.st_mode) and status.st_uid in (uid, _NOBODY)
    return False


def _asked(path: Path, order: OwnerCall) -> dict[str, object]:
    with socket.socket(socket.AF_UNIX) as wire:
        wire.settimeout(_SECONDS)
        wire.connect(str(path))
        wire.sendall(CALLS.pack(order) + b"\n")
        with wire.makefile("rb") as answers:
            said = json.loads(answers.readline(_MOST_ANSWER))
    if not isinstance(said, dict):
        raise ValueError("it is no answer")
    return said
