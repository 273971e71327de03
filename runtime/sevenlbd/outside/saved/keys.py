"""Who can open a saved desktop: the user's own key, made at the first time, and keys of others (age, X25519).

The own key is beside the user's saved desktops, in a folder that no share shows. To write needs its public half only.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pyrage

from ...base import atomic, foreign_files
from ...base.errors import ExitCode, Refusal
from .places import KEY

type Identity = pyrage.x25519.Identity
type Recipient = pyrage.x25519.Recipient

_SECRET = "AGE-SECRET-KEY-"  # how one begins (age-encryption.org/v1); it is repeated to nobody
_MOST = 4096  # bytes; a key has two lines


def own(folder: Path) -> str:
    """The public half of the user's key in `folder`, which is made when there is none. Raises Refusal."""
    return str(_identity(folder, make=True).to_public())


def identity(folder: Path) -> pyrage.x25519.Identity:
    """The user's key. Raises Refusal when there is none that can be used."""
    return _identity(folder, make=False)


def recipients(texts: list[str]) -> list[Recipient]:
    """Public keys of others, each `age1...`. Raises Refusal."""
    found = []
    for text in texts:
        if text.upper().startswith(_SECRET):
            what = "that is a secret key: whoever has it opens all that is encrypted for it"
            raise Refusal(ExitCode.USAGE, what, hint="7lbd saved key prints the public one, age1...")
        try:
            found.append(pyrage.x25519.Recipient.from_str(text))
        except pyrage.RecipientError:
            what = f"`{text}` is no public key that a desktop can be encrypted for"
            raise Refusal(ExitCode.USAGE, what, hint="7lbd saved key prints one's own, age1...") from None
    return found


def _identity(folder: Path, *, make: bool) -> pyrage.x25519.Identity:
    path = folder / KEY
    try:
        return _read(folder)
    except FileNotFoundError:
        if not make:
            what = f"{path}: there is no key of yours, so no saved desktop can be opened"
            raise Refusal(ExitCode.USAGE, what, hint="copy it from where the desktop was suspended") from None
    except (OSError, ValueError, pyrage.IdentityError) as error:
        raise _unusable(path, str(error)) from None
    try:
        return _made(folder)
    except OSError as error:
        raise _unusable(path, error.strerror or str(error)) from None


def _unusable(path: Path, why: str) -> Refusal:
    return Refusal(ExitCode.USAGE, f"{path}: the key of your saved desktops cannot be used: {why}", hint="mend that")


def _read(folder: Path) -> pyrage.x25519.Identity:
    status = (folder / KEY).lstat()
    if not stat.S_ISREG(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise ValueError("it is not a file that only you can read")
    lines = foreign_files.read(folder, KEY, _MOST).decode("ascii").splitlines()
    keys = [line for line in lines if line and not line.startswith("#")]
    if len(keys) != 1:
        raise ValueError("there is not one key in it")
    return pyrage.x25519.Identity.from_str(keys[0])


def _made(folder: Path) -> pyrage.x25519.Identity:
    """Of two that make one at once, the first one's counts: link(2) does not replace. Raises OSError."""
    fresh = pyrage.x25519.Identity.generate()
    staged = folder / f".{KEY}.{os.urandom(8).hex()}"
    atomic.replace(staged, f"# public key: {fresh.to_public()}\n{fresh}\n".encode(), lasting=True)
    try:
        os.link(staged, folder / KEY)
    except FileExistsError:
        return _read(folder)
    finally:
        staged.unlink()
    return fresh
