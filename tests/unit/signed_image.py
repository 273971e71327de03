"""An image's folder, signed as `image sign` leaves it."""

from __future__ import annotations

from pathlib import Path

from sevenlbd.images import layout
from sevenlbd.images.signing import manifest, signature

NOWHERE = b"{}"  # places of files: none is elsewhere


def new_key(path: Path) -> str:
    """A private key in a file that its owner alone can read; returns the public one."""
    private, public = signature.generate()
    path.write_bytes(private)
    path.chmod(0o600)
    return public


def sign(folder: Path, key: Path) -> None:
    """All of the folder as it is now."""
    made = manifest.make(folder)
    (folder / layout.MANIFEST).write_bytes(made.to_json())
    (folder / layout.TREE).write_bytes(made.to_tree())
    (folder / layout.PLACES).write_bytes(NOWHERE)
    (folder / layout.SIGNATURE).write_bytes(signature.sign(signature.private_key(key), made.to_json(), NOWHERE))
