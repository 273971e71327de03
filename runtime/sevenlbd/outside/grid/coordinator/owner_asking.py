"""Asking every coordinator of this machine, as its owner: whatever strangers make beside theirs, they are heard.

Users are not told apart in a container (user_namespaces(7)), and a folder may have any name; processes are. Nothing of
an answer is believed, and one that cannot be shown is none.
"""

from __future__ import annotations

import errno
import json
import os
import select
import socket
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ....base.errors import ExitCode, Refusal
from . import owner_socket
from .owner_socket import CALLS, PLACE, SOCKET, OwnerCall

_SECONDS = 6.0  # for an answer; more than a coordinator takes for one
_MOST_ANSWER = 4 << 20  # bytes; it tells of all images
_AT_ONCE = 100  # sockets; a guess: a machine has one coordinator, or a few
_TRIES, _PAUSE = 5, 0.2  # where others crowd, and seconds between them; a guess: a crowd is heard in less
_PEERPIDFD = 77  # SO_PEERPIDFD (asm-generic/socket.h), since Linux 6.5
_NOBODY = 65534  # whom a user namespace does not know (user_namespaces(7))


@dataclass(frozen=True)
class MachineAnswer:
    """What the machine's coordinators say, and of which users there are some that say nothing."""

    answers: list[dict[str, object]]
    silent: tuple[str, ...] = ()

    @property
    def trouble(self) -> str:
        """Why not all is known, or done; empty when it is."""
        return f"that of user {', '.join(self.silent)} does not answer" if self.silent else ""


def call(order: OwnerCall, temporary: Path = owner_socket.TEMPORARY) -> MachineAnswer:
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
    """
    found: dict[int | Path, Path] = {}
    places = [path for path in sorted(temporary.glob(f"{PLACE}*/*{SOCKET}")) if _is_coordinators(path.parent)]
    for _ in range(_TRIES):
        crowded = []
        for path in places:
            try:
                found.setdefault(_listener(path) or path, path)  # 0: of a PID namespace that is not ours
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
        if _is_over(wire):
            raise ConnectionRefusedError
        return owner_socket.peer(wire)[0]


def _is_over(wire: socket.socket) -> bool:
    """Whether the process that began to listen there has ended, so that its number may be a coordinator's by now."""
    try:
        process = wire.getsockopt(socket.SOL_SOCKET, _PEERPIDFD)
    except OSError as error:
        return error.errno != errno.ENOPROTOOPT  # an older kernel cannot tell
    try:
        return bool(select.select([process], [], [], 0)[0])  # readable when it has ended (pidfd_open(2))
    finally:
        os.close(process)


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
