"""Signatures of manifests: Ed25519 (RFC 8032), one key pair of the site's, public keys in its settings.

`manifest.sig` is a text of three or four lines:

    7lbd signature 1
    7lbd-ed25519:PUBLIC KEY
    manifest SIGNATURE
    places SIGNATURE

all in Base64. What is signed is the whole file of that name after a line that says what it is for, so that a
signature of one thing can never be shown as one of another. A key is worth nothing for standing in the file:
only those that the site lists count. `cryptography` is loaded when a signature is really to be computed.
"""

from __future__ import annotations

import base64
import binascii
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...base.errors import ExitCode, Refusal
from ..layout import MANIFEST, PLACES, SIGNATURE
from .manifest import Altered, exists, read_signed

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

PREFIX = "7lbd-ed25519:"
_FIRST = "7lbd signature 1"
_KEY_BYTES, _SIGNATURE_BYTES = 32, 64  # RFC 8032, 5.1.5 and 5.1.6
_PURPOSE = {MANIFEST: b"7lbd image manifest 1\n", PLACES: b"7lbd image places 1\n"}
_WORDS = {"manifest": MANIFEST, "places": PLACES}
_MOST_KEY_FILE = 64 << 10  # bytes; a guess: a key in PEM has some hundred


@dataclass(frozen=True)
class Signed:
    """What a trusted key vouches for: the content of the manifest, and that of the list of places if there is one."""

    key: str
    manifest: bytes
    places: bytes


def generate() -> tuple[bytes, str]:
    """A new key pair: the private key as PKCS #8 in PEM (RFC 5958), the public one as a text for the settings."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private, public_text(key)


def public_text(key: Ed25519PrivateKey) -> str:
    """The public half of a key as it stands in `trusted_keys`."""
    return PREFIX + base64.b64encode(key.public_key().public_bytes_raw()).decode()


def private_key(path: Path) -> Ed25519PrivateKey:
    """The private key in the file at `path`. Raises Refusal."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    content = _private_content(path)
    try:
        key = serialization.load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        what = f"{path}: is not a private Ed25519 key in PEM without a passphrase"
        raise Refusal(ExitCode.USAGE, what, hint="7lbd image keygen makes one")
    return key


def _private_content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise Refusal(ExitCode.USAGE, f"{path}: is not a regular file", hint="7lbd image keygen makes a key")
            content = file.read(_MOST_KEY_FILE)
            if content.startswith(PREFIX.encode()):
                what = f"{path}: is a public key, and the private one signs"
                raise Refusal(ExitCode.USAGE, what, hint="--key FILE: the one that 7lbd image keygen called .key")
            if status.st_mode & 0o077:
                raise Refusal(ExitCode.USAGE, f"{path}: others may read or change it", hint=f"chmod 600 {path}")
            return content
    except OSError as error:
        what = f"{path}: the key cannot be read: {error.strerror}"
        raise Refusal(ExitCode.USAGE, what, hint="7lbd image keygen makes one") from None


def trusted(texts: Sequence[str]) -> tuple[str, ...]:
    """The public keys of the settings, each in its one spelling. Raises Refusal for what is none."""
    keys = []
    for text in texts:
        raw = _decoded(text.removeprefix(PREFIX), _KEY_BYTES) if text.startswith(PREFIX) else None
        if raw is None:
            what = f"trusted_keys: `{text}` is not a public key"
            raise Refusal(ExitCode.USAGE, what, hint=f"it is the text {PREFIX}... that 7lbd image keygen prints")
        keys.append(PREFIX + base64.b64encode(raw).decode())
    return tuple(keys)


def sign(key: Ed25519PrivateKey, manifest: bytes, places: bytes) -> bytes:
    """The content of manifest.sig."""
    lines = [_FIRST, public_text(key)]
    for name, content in (("manifest", manifest), ("places", places)):
        signature = key.sign(_PURPOSE[_WORDS[name]] + content)
        lines.append(f"{name} {base64.b64encode(signature).decode()}")
    return "\n".join([*lines, ""]).encode()


def check(folder: Path, keys: Sequence[str]) -> Signed:
    """What one of `keys` (from `trusted`) has signed in `folder`, by the signature's files alone. Raises Refusal."""
    if not exists(folder) or not os.path.lexists(folder / SIGNATURE):
        what = f"{folder}: the image is not signed"
        raise Refusal(ExitCode.IMAGE, what, hint="who keeps the images can: 7lbd image sign NAME@VERSION --key FILE")
    text, signatures = _parsed(read_signed(folder, SIGNATURE), folder / SIGNATURE)
    if text not in keys:
        listed = ", ".join(keys) or "none is listed"
        what = f"{folder}: is signed with {text}, which is not a trusted key (trusted_keys: {listed})"
        raise Refusal(ExitCode.IMAGE, what, hint="ask the site; it lists keys in trusted_keys of its settings file")
    public = _public(text)
    content = {name: _proved(folder, public, name, signatures[name]) for name in signatures}
    return Signed(text, content[MANIFEST], content.get(PLACES, b""))


def _proved(folder: Path, public: Ed25519PublicKey, name: str, signature: bytes) -> bytes:
    from cryptography.exceptions import InvalidSignature

    content = read_signed(folder, name)
    try:
        public.verify(signature, _PURPOSE[name] + content)
    except InvalidSignature:
        raise Altered(f"{folder / name}: was altered since it was signed: its signature does not fit") from None
    return content


def _public(text: str) -> Ed25519PublicKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    return Ed25519PublicKey.from_public_bytes(base64.b64decode(text.removeprefix(PREFIX)))


def _parsed(content: bytes, path: Path) -> tuple[str, dict[str, bytes]]:
    """The public key, in its one spelling, and the signatures by file. Raises Altered."""
    lines = content.decode("ascii", "replace").split("\n")
    signatures: dict[str, bytes] = {}
    for line in lines[2:-1]:
        name, _, text = line.partition(" ")
        signature = _decoded(text, _SIGNATURE_BYTES)
        if name not in _WORDS or _WORDS[name] in signatures or signature is None:
            raise Altered(f"{path}: was altered: `{line:.40}` is not a signature")
        signatures[_WORDS[name]] = signature
    key = _decoded(lines[1].removeprefix(PREFIX), _KEY_BYTES) if len(lines) > 3 else None
    if lines[0] != _FIRST or lines[-1] or key is None or not lines[1].startswith(PREFIX) or MANIFEST not in signatures:
        raise Altered(f"{path}: was altered: it is not a signature as 7lbd makes them")
    return lines[1], signatures


def _decoded(text: str, length: int) -> bytes | None:
    """The bytes of a Base64 text in its one spelling, or None."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if len(raw) == length and base64.b64encode(raw).decode() == text else None
