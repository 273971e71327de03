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
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ....base.errors import ExitCode, Refusal
from ....wire.codec import Codec, Malformed, Printable

PLACE, SOCKET = "7lbd-grid-", ".sock"
"""A folder of each user, and in it a socket of each of his coordinators, which are several in several state folders.

Where somebody else has made something of its name, a folder beside it: PLACE, the user, a dash, and chance.
"""
TEMPORARY = Path("/tmp")
"""Seen by all users, whatever their TMPDIR."""
_SECONDS = 5.0  # who connects has his order ready; and who waits for an answer is at a terminal
_MOST_ORDER, _MOST_ANSWER = 4 << 10, 4 << 20  # bytes; an order is a line of some hundred, an answer tells of all images
_AT_ONCE = 100  # sockets; a guess: a machine has one coordinator, or a few
_TRIES, _PAUSE = 5, 0.2  # where others crowd, and seconds between them; a guess: a crowd is heard in less
_CALLERS = 64  # who are heard at a time; a guess: people who look are a few, and the rest is somebody's flood
_BACKLOG = 128  # calls that wait to be taken, which takes no time; a guess
_PUBLIC, _FOR_ALL = 0o755, 0o666  # who may ask finds the socket by listing its folder, and writes to it
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
    try:
        place = _place(temporary)
        listener = _bound(place)
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
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(str(_own(place)))
        _own(place).chmod(_FOR_ALL)
        listener.listen(_BACKLOG)
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
    return _peer(wire)[1] == os.getuid()


def _peer(wire: socket.socket) -> tuple[int, int]:
    """Process and user at the other end (unix(7), SO_PEERCRED: pid, uid, gid)."""
    credentials = struct.Struct("iII")
    pid, uid, _ = credentials.unpack(wire.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, credentials.size))
    return pid, uid


@dataclass(frozen=True)
class MachineAnswer:
    """What the machine's coordinators say, and of which users there are some that say nothing."""

    answers: list[dict[str, object]]
    silent: tuple[str, ...] = ()

    @property
    def trouble(self) -> str:
        """Why not all is known, or done; empty when it is."""
        return f"that of user {', '.join(self.silent)} does not answer" if self.silent else ""


def call(order: OwnerCall, temporary: Path = TEMPORARY) -> MachineAnswer:
    """Ask every coordinator of this machine. Raises Refusal when there is none that answers."""
    listening, crowded = _listeners(temporary)
    # All at once: whoever else makes such sockets, and does not answer there, must not keep the owner waiting.
    with ThreadPoolExecutor(_AT_ONCE) as asking:
        answers = list(asking.map(lambda path: _answer_of(path, order), listening))
    found = [answer for answer in answers if isinstance(answer, dict)]
    silent = [answer for answer in answers if isinstance(answer, str) and answer]
    heard = MachineAnswer(found, tuple(dict.fromkeys(silent + [str(_whose(path.parent)) for path in crowded])))
    if not found:
        why = f": {heard.trouble}" if heard.silent else ""
        what = f"no coordinator of a grid runs on {os.uname().nodename}{why}"
        raise Refusal(ExitCode.NO_SESSION, what, hint="7lbd grid coordinator begins one")
    return heard


def _listeners(temporary: Path) -> tuple[list[Path], list[Path]]:
    """One socket of each process that listens, and those that take no more callers.

    Nobody has so many that another's is not come to.

    Users are not told apart in here (user_namespaces(7)), and a folder may have any name; processes are.
    """
    found: dict[int, Path] = {}
    places = [path for path in sorted(temporary.glob(f"{PLACE}*/*{SOCKET}")) if _is_coordinators(path.parent)]
    for _ in range(_TRIES):
        crowded = []
        for path in places:
            try:
                found.setdefault(_listener(path), path)
            except BlockingIOError:
                crowded.append(path)
            except OSError:
                continue  # it was killed, or has just ended
        places = crowded
        if not places:
            break
        time.sleep(_PAUSE)
    return list(found.values()), places


def _listener(path: Path) -> int:
    """The process that listens there. Raises OSError, and BlockingIOError when there are callers enough."""
    with socket.socket(socket.AF_UNIX) as wire:
        wire.setblocking(False)
        wire.connect(str(path))
        return _peer(wire)[0]


def _whose(place: Path) -> int:
    """The user that a folder's name says; -1 when it says none."""
    said = place.name.removeprefix(PLACE).partition("-")[0]
    return int(said) if said.isascii() and said.isdigit() else -1


def _is_coordinators(place: Path) -> bool:
    """Whether the folder is that of the user that its name says, as far as can be told from here."""
    with suppress(OSError):
        status = place.lstat()
        return stat.S_ISDIR(status.st_mode) and status.st_uid in (_whose(place), _NOBODY)
    return False


def _answer_of(path: Path, order: OwnerCall) -> dict[str, object] | str:
    """Or whose coordinator does not answer; nothing for one that was killed, or has just ended."""
    for _ in range(_TRIES):
        try:
            return _asked(path, order)
        except (ConnectionRefusedError, FileNotFoundError):
            return ""
        except (EOFError, ConnectionError, BlockingIOError):  # it was not taken, or hung up on: others crowd there
            time.sleep(_PAUSE)
        except (OSError, ValueError, RecursionError):
            break
    return str(_whose(path.parent))


def _asked(path: Path, order: OwnerCall) -> dict[str, object]:
    with socket.socket(socket.AF_UNIX) as wire:
        wire.settimeout(_SECONDS)
        wire.connect(str(path))
        wire.sendall(CALLS.pack(order) + b"\n")
        with wire.makefile("rb") as answers:
            line = answers.readline(_MOST_ANSWER)
    if not line:
        raise EOFError
    return parsed(line)


def parsed(line: bytes) -> dict[str, object]:
    """A coordinator's answer, or a stranger's: one that can be shown. Raises ValueError and RecursionError."""
    said = json.loads(line)
    if not isinstance(said, dict):
        raise ValueError("it is no answer")
    json.dumps(said, indent=1)  # which goes less deep
    return said
