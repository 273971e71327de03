"""Where the service keeps what it must not forget; the verbs work on it, whether the service runs or not.

key                 32 random bytes: every token is made of it
admin-token         what opens the overview page
pool.pem            private key and certificate that the service made for itself
machines.json       who is enrolled, and which token of each is good
codes/HASH          an enrolment code that nobody has used yet, under its SHA-256
revoked/NAME~EPOCH  why this machine is none of ours any more
keys/NAME~EPOCH     what wraps the key of this machine's encrypted images; gone when it is revoked
lock                held by the service
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ....base import atomic
from ....base.errors import ExitCode, Refusal

KEY, ADMIN, CERTIFICATE, MACHINES = "key", "admin-token", "pool.pem", "machines.json"
CODES, REVOKED, KEYS = "codes", "revoked", "keys"
_LOCK = "lock"
_KEY_BYTES = 32  # HMAC-SHA256's own length (RFC 2104, 3)


def prepared(place: Path) -> Path:
    """The folder with its key and its token, made if they are not there. Raises Refusal."""
    try:
        for folder in (place, place / CODES, place / REVOKED, place / KEYS):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = place.lstat()
        if status.st_uid != os.getuid() or status.st_mode & 0o077:
            hint = f"chmod 700 {place}, if it is yours"
            raise Refusal(ExitCode.USAGE, f"{place}: others can get at the pool's key there", hint=hint)
        settle(place / KEY, secrets.token_bytes(_KEY_BYTES))
        settle(place / ADMIN, f"{secrets.token_urlsafe(_KEY_BYTES)}\n".encode())
    except OSError as error:
        raise unusable(place, error) from None
    return place


def settle(path: Path, content: bytes) -> None:
    """Give the file this content, unless it is there: of two who try, one does. Raises OSError."""
    if path.exists():
        return
    new = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    atomic.replace(new, content, lasting=True)
    try:
        with suppress(FileExistsError):
            path.hardlink_to(new)
    finally:
        new.unlink()


def unusable(place: Path, error: OSError) -> Refusal:
    """What is said when the folder does not take or give something."""
    hint = "`state` of the table [pool], or --state-dir DIR: a folder of yours with some room"
    return Refusal(ExitCode.RESOURCES, f"{place}: {error.strerror}", hint=hint)


def secret(place: Path, name: str) -> bytes:
    """The key, or the token. Raises Refusal."""
    try:
        content = (place / name).read_bytes().strip() if name == ADMIN else (place / name).read_bytes()
    except OSError as error:
        raise unusable(place / name, error) from None
    if len(content) < _KEY_BYTES:
        raise Refusal(ExitCode.USAGE, f"{place / name}: is too short", hint="remove it; a new one is made")
    return content


@contextmanager
def served(place: Path) -> Iterator[None]:
    """There is one service of a folder. Raises Refusal when there is another."""
    try:
        descriptor = os.open(place / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise unusable(place / _LOCK, error) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        what = f"another service keeps the pool of {place}"
        raise Refusal(ExitCode.USAGE, what, hint="one is enough; or --state-dir DIR for another pool") from None
    finally:
        os.close(descriptor)
