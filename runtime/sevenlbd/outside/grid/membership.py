"""What a machine of the grid knows of the pool it belongs to: two files in the folder of its user's state.

grid/machine.toml   the service's address, its key's digest, and the machine's name there
grid/token          the machine's token, 0600; each answer of the service's has the next one
grid/token.lock     held by whoever asks the service: a token that two use at a time ends the machine's membership
"""

from __future__ import annotations

import fcntl
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ...base import atomic, belongings, hostnames
from ...base.belongings import Strangers
from ...base.errors import ExitCode, Refusal
from ...config.value_kinds import written
from ..presence import records
from . import grid_folders
from .https_exchange import Server, is_pin
from .record_limits import is_machine

MACHINE, TOKEN, _LOCK = "machine.toml", "token", "token.lock"
DEFAULT_PORT = 9680
"""The service's, which nobody has registered."""
_MOST_TOKEN = 8 << 10  # bytes; ours have some 100
ENROL = "7lbd grid enrol URL --code CODE"


@dataclass(frozen=True)
class Membership:
    """A machine's place in a pool."""

    url: str
    machine: str
    pin: str

    @property
    def server(self) -> Server:
        """Where its service is."""
        return server_of(self.url, self.pin)


def folder(state_dir: str, environment: Mapping[str, str]) -> Path:
    """Where all that the grid keeps for this user lies. Nothing is looked at. Raises Refusal."""
    register = records.where(state_dir, environment)
    if not register:
        what = "there is no folder for the grid's state"
        raise Refusal(ExitCode.USAGE, what, hint="--state-dir DIR, on a disk of this machine")
    return register.parent / grid_folders.MACHINE


def server_of(url: str, pin: str) -> Server:
    """The server of an address as people write it. Raises Refusal."""
    try:
        parts = urlsplit(url if "://" in url else f"https://{url}")
        host, port = (parts.hostname or "").lower(), parts.port or DEFAULT_PORT
        known = hostnames.is_address(host) or hostnames.is_name(host)
        plain = parts.path in ("", "/") and not (parts.query or parts.fragment or parts.username or parts.password)
    except ValueError:
        known = plain = False
    if not known or not plain or parts.scheme != "https":
        hint = "it is https://HOST:PORT, as `7lbd grid pool` prints it"
        raise Refusal(ExitCode.USAGE, f"`{url[:200]}` is not the address of a pool's service", hint=hint)
    return Server(host, port, pin)


def read(place: Path) -> Membership:
    """Raises Refusal when the machine belongs to no pool, or somebody else may have written that it does."""
    try:
        table = tomllib.loads(belongings.read(place / MACHINE, belongings.of_user()).decode())
        found = Membership(*(str(table[name]) for name in ("url", "machine", "pin")))
        good = is_pin(found.pin) and is_machine(found.machine)
    except FileNotFoundError:
        raise Refusal(ExitCode.USAGE, "this machine belongs to no pool yet", hint=ENROL) from None
    except (OSError, Strangers) as error:
        what = f"{place / MACHINE}: {getattr(error, 'strerror', None) or error}"
        raise Refusal(ExitCode.USAGE, what, hint=f"it should be yours alone; else remove it, and: {ENROL}") from None
    except (ValueError, KeyError, RecursionError):
        good = False
    if not good:
        what = f"{place / MACHINE}: is not as `7lbd grid enrol` writes it"
        raise Refusal(ExitCode.USAGE, what, hint=f"remove it, and: {ENROL}")
    return found


def write(place: Path, membership: Membership, token: str) -> None:
    """Belong to this pool from now on. Raises Refusal."""
    names = ("url", "machine", "pin")
    lines = [f"{name} = {written(getattr(membership, name))}\n" for name in names]
    head = "# The pool that this machine belongs to. Made by `7lbd grid enrol`; away with the folder, away with that.\n"
    try:
        make(place)
        # The token first: without it the rest would look like a machine that lost its own.
        atomic.replace(place / TOKEN, f"{token}\n".encode(), lasting=True)
        atomic.replace(place / MACHINE, (head + "".join(lines)).encode(), lasting=True)
    except OSError as error:
        what = f"{place}: cannot be written: {error.strerror}"
        raise Refusal(ExitCode.RESOURCES, what, hint="it needs room, and to be yours; or --state-dir DIR") from None


def make(place: Path) -> None:
    """The folder, ours alone. Raises Refusal and OSError."""
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = place.lstat()
    if status.st_uid != os.getuid() or status.st_mode & 0o077:
        what = f"{place}: others can get at the machine's token there"
        raise Refusal(ExitCode.USAGE, what, hint=f"chmod 700 {place}, if it is yours")


@contextmanager
def held(place: Path) -> Iterator[MachineToken]:
    """The machine's token, while nobody else of this user uses it. Raises Refusal."""
    try:
        descriptor = os.open(place / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise Refusal(ExitCode.RESOURCES, f"{place / _LOCK}: {error.strerror}", hint=ENROL) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield MachineToken(place / TOKEN)
    finally:
        os.close(descriptor)


class MachineToken:
    """The token in its file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                status, content = os.fstat(descriptor), os.read(descriptor, _MOST_TOKEN)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise Refusal(ExitCode.USAGE, f"{path}: {error.strerror}", hint=f"enrol anew: {ENROL}") from None
        if status.st_mode & 0o077 or status.st_uid != os.getuid():
            what = f"{path}: others can read the machine's token"
            raise Refusal(ExitCode.USAGE, what, hint=f"have it revoked (7lbd grid pool revoke), and: {ENROL}")
        self.text = content.decode("ascii", "replace").strip()
        if not re.fullmatch(r"[!-~]+", self.text):
            raise Refusal(ExitCode.USAGE, f"{path}: is no token", hint=f"enrol anew: {ENROL}")

    def replace(self, text: str) -> None:
        """From now on it is this one, also after a power cut: who came back with an older one would be a thief."""
        if text != self.text:
            atomic.replace(self._path, f"{text}\n".encode(), lasting=True)
            self.text = text
