"""A version of an image that lies here encrypted: which of its files are, by what keys, and why it is believed.

The signer's manifest speaks of the plain text. Each piece was compared with it before it was encrypted, and what came
of it is written down in `encrypted.json`: a digest of every encrypted file, and of the manifest that all of it was
compared with. That record carries a MAC by the machine's own key, which whoever has the disk has not. So a start
verifies the record, the signature as ever, and the digests of what lies on the disk: nothing is decrypted for it, and
it costs what an image in the clear costs. XTS itself would let an altered sector through as garbage.

In the clear stay what an image asks of its machine and its UEFI variables: nothing of its disk or memory is in them.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath
from typing import Any

from ...base import atomic
from ...base.errors import ExitCode, Refusal
from .. import layout
from ..signing import digest, manifest
from ..signing.manifest import SIGNATURE_FILES, Altered

RECORD = layout.ENCRYPTED
_SCHEMA = 1  # of the record; another is refused
_MOST = 1 << 20  # bytes; a guess: a record has a few hundred for each file
_CLEAR = frozenset({layout.DESCRIPTION, f"{layout.WARM}/{layout.WARM_RECORD}", RECORD, *SIGNATURE_FILES})
_CLEAR_SUFFIX = PurePath(layout.VARIABLES).suffix
_FORMATS = ("qcow2", "raw")
_SEALED = frozenset({f"{layout.WARM}/{layout.WARM_MEMORY}", f"{layout.WARM}/{layout.WARM_STATE}"})
AGAIN = "remove that version, and it is fetched anew; a copy of the cache by 7lbd image cache --drop NAME@VERSION"


@dataclass(frozen=True)
class EncryptedPart:
    """An encrypted file: the size of its plain text, and what lies on the disk. `root` as of a manifest's trees."""

    plain: int
    size: int
    root: str


@dataclass(frozen=True)
class EncryptedLayer:
    """A file of the disk, by its path in the version's folder."""

    name: str
    format: str


@dataclass(frozen=True)
class EncryptionRecord:
    """What was written down when all had come. `manifest` is the SHA-256 of the signer's."""

    schema: int
    manifest: str
    files: dict[str, EncryptedPart]
    layers: tuple[EncryptedLayer, ...]
    size: int
    """Of the disk that the layers make, in bytes."""


def is_one(folder: Path) -> bool:
    """Whether a version lies there encrypted."""
    return (folder / RECORD).exists()


def is_sealed(name: str) -> bool:
    """Whether a file is one that QEMU does not read by itself."""
    return name in _SEALED


def stays_clear(name: str) -> bool:
    """Whether a file is left as it is."""
    return name in _CLEAR or name.endswith(_CLEAR_SUFFIX)


def passphrase(key: bytes, version: str, name: str) -> str:
    """What opens one file of the version whose manifest has this digest: of no use for any other (HMAC, RFC 2104)."""
    return hmac.new(key, f"file\0{version}\0{name}".encode(), hashlib.sha256).hexdigest()


def write(folder: Path, record: EncryptionRecord, key: bytes) -> None:
    """Put the record in its place, for good: from now on it is a whole version. Raises OSError."""
    content = json.dumps(asdict(record)).encode()
    atomic.replace(folder / RECORD, json.dumps({"record": content.decode(), "mac": _mac(key, content)}).encode())


def read(folder: Path, key: bytes | None) -> EncryptionRecord:
    """The record of a version, if this key wrote it. Without a key it is not to be believed. Raises Refusal."""
    path = folder / RECORD
    try:
        with path.open("rb") as file:
            table = json.loads(file.read(_MOST))
        content, mac = str(table["record"]).encode(), str(table["mac"])
        if key is not None and not hmac.compare_digest(_mac(key, content), mac):
            what = f"{path}: was not written with the key that is here: that is another one, or the file was altered"
            raise Refusal(ExitCode.IMAGE, what, hint=AGAIN)
        return _parsed(json.loads(content))
    except (OSError, ValueError, OverflowError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise Altered(f"{path}: cannot be read: {error}", hint=AGAIN) from None


def _parsed(table: Any) -> EncryptionRecord:
    """Raises ValueError, OverflowError, TypeError, KeyError or AttributeError."""
    if table["schema"] != _SCHEMA:
        raise ValueError("it is of a format that this 7lbd does not know")
    files = {
        str(name): EncryptedPart(int(fact["plain"]), int(fact["size"]), str(fact["root"]))
        for name, fact in table["files"].items()
    }
    layers = tuple(EncryptedLayer(str(layer["name"]), str(layer["format"])) for layer in table["layers"])
    if not layers or any(layer.format not in _FORMATS or layer.name not in files for layer in layers):
        raise ValueError("it has a disk that makes no sense")
    return EncryptionRecord(_SCHEMA, str(table["manifest"]), files, layers, int(table["size"]))


def check(folder: Path, record: EncryptionRecord, signed: bytes) -> None:
    """Compare all files with the record, and those in the clear with the manifest `signed`. Raises Refusal."""
    if hashlib.sha256(signed).hexdigest() != record.manifest:
        raise Altered(f"{folder}: its manifest is another than it was encrypted by", hint=AGAIN)
    known = manifest.parse(signed, folder / layout.MANIFEST)
    present = {name for name in manifest.files(folder) if name != RECORD}
    if strange := present ^ known.parts.keys():
        raise Altered(f"{folder / min(strange)}: is missing, or does not belong there", hint=AGAIN)
    for name, part in known.parts.items():
        fact = record.files.get(name)
        if (fact is None) != stays_clear(name) or (fact and fact.plain != part.size):
            raise Altered(f"{folder / name}: is not as it was written down", hint=AGAIN)
        found = manifest.hashed(folder / name)
        if found != (part if fact is None else _as_part(fact)):
            raise Altered(f"{folder / name}: was altered", hint=AGAIN)


def _as_part(fact: EncryptedPart) -> manifest.Part:
    if fact.size > digest.CHUNK:
        return manifest.Part(fact.size, root=fact.root, chunk=digest.CHUNK)
    return manifest.Part(fact.size, sha256=fact.root)


def fact(path: Path, plain: int) -> EncryptedPart:
    """What is written down of an encrypted file. Raises Refusal."""
    part = manifest.hashed(path)
    return EncryptedPart(plain, part.size, part.root or part.sha256)


def _mac(key: bytes, content: bytes) -> str:
    return hmac.new(key, b"record\0" + content, hashlib.sha256).hexdigest()


def keys(folder: Path, record: EncryptionRecord, key: bytes) -> Mapping[str, str]:
    """What opens each encrypted file, by its path on the node."""
    return {str(folder / name): passphrase(key, record.manifest, name) for name in record.files}


def new(
    manifest_content: bytes, files: dict[str, EncryptedPart], layers: tuple[EncryptedLayer, ...], size: int
) -> EncryptionRecord:
    """A record of what has come."""
    return EncryptionRecord(_SCHEMA, hashlib.sha256(manifest_content).hexdigest(), files, layers, size)
