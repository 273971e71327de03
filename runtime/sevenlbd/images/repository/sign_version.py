"""Signing a version: its manifest is made, signed and put beside its parts, last of all the signature.

The whole version is read before anything is written. The seal's files are written beside the version's folder and
renamed into it, so that an interrupted signing leaves nothing there that a manifest does not list; what it leaves
beside is removed by the next one. Until the last rename a version that was not signed is still not signed, and one
that is signed anew is refused where signatures are required: never believed by mistake.
"""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from ..layout import MANIFEST, NEW_SIGNATURE, PLACES, SIGNATURE, TREE
from ..signing import manifest, signature, verified
from ..signing.manifest import Altered, Manifest
from .versions import Repository

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def sign(
    repository: Repository, name: str, version: str, key: Ed25519PrivateKey, progress: verified.Progress
) -> Manifest:
    """Sign NAME@VERSION with `key`, as it is now. Raises Refusal, OSError."""
    with repository.amended(name, version) as folder:
        pass  # a version made by hand is read-only here: later that would give its files another identity
    before = verified.settle(folder)
    with progress(f"reading {name}@{version}", sum(size for _, size, _, _ in before.values())) as report:
        made = manifest.make(folder, report)
    with repository.amended(name, version) as folder:
        for left in folder.parent.glob(f"{NEW_SIGNATURE}*"):
            left.unlink()
        if _parts(folder) != before:
            raise Altered(f"{folder}: is being changed", hint="wait until that has ended, then sign it again")
        content = made.to_json()
        _put(folder, TREE, made.to_tree())
        _put(folder, MANIFEST, content)
        tree = verified.identity((folder / TREE).lstat())
        places = verified.places(content, {**before, TREE: tree})
        _put(folder, PLACES, places)
        _put(folder, SIGNATURE, signature.sign(key, content, places))
    return made


def _parts(folder: Path) -> dict[str, verified.Identity]:
    return {name: verified.identity(status) for name, status in manifest.files(folder).items()}


def _put(folder: Path, name: str, content: bytes) -> None:
    """A file of the signature, whole or not at all, with the mode that a read-only version's files have."""
    fresh = folder.with_name(f"{NEW_SIGNATURE}{secrets.token_hex(4)}")
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(descriptor, stat.S_IMODE(folder.parent.stat().st_mode) & 0o444 | 0o400)
            os.fsync(descriptor)
        fresh.rename(folder / name)
    finally:
        fresh.unlink(missing_ok=True)
