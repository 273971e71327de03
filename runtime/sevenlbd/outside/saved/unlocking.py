"""What opens a saved desktop: the user's own key, or the passphrase that it was closed with. Asked for when needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyrage

from ...base.errors import ExitCode, Refusal
from . import keys, passphrases
from .facts import Lock, SavedHeader


@dataclass(frozen=True)
class Opener:
    """A key, and the lock when it came of a passphrase: what is saved later is closed with the same one."""

    identity: pyrage.x25519.Identity
    lock: Lock | None = None


def opener(
    path: Path, header: SavedHeader, folder: Path | None, passphrase: Callable[[], str], *, closed: bool
) -> Opener:
    """What opens this file; `folder` has the user's key. `closed` when the user says that a passphrase closes it.

    Raises Refusal.
    """
    if header.passphrase:
        identity = passphrases.identity(passphrase(), header.passphrase)
        return Opener(identity, passphrases.locked(identity, header.passphrase))
    if closed:
        what = f"{path}: no passphrase closes it, so whoever knows your public key may have put it there"
        raise Refusal(ExitCode.USAGE, what, hint="if it is the right one, leave the passphrase out")
    if folder is None:
        what = "there is no folder with the key of your saved desktops (state_dir is off)"
        raise Refusal(ExitCode.USAGE, what, hint="--state-dir DIR")
    return Opener(keys.identity(folder))
