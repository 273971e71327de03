"""A version that arrives piece by piece and is encrypted as it does: no piece of it lies in the clear for a moment.

Whoever fetches it compares each piece with the manifest, before it is put here and when it is found here.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

from ...base.errors import ExitCode, Refusal
from .. import description, layout, qcow2
from ..cache import sparse
from ..encryption import encrypted_version
from ..encryption.encrypted_file import EncryptedFile, LuksFile, PlainReader, SealedFile
from ..encryption.encrypted_version import EncryptedLayer, EncryptedPart
from ..lookup import image as images
from ..lookup.image import DiskFiles
from ..signing import digest, manifest
from ..signing.manifest import Part


class PieceFile(Protocol):
    """A file of a version, as whoever fetches it sees it: plain text, in pieces."""

    def read(self, at: int, length: int) -> bytes:
        """What is there; of what never came, anything."""

    def write(self, at: int, data: bytes | memoryview) -> None:
        """Put a piece in its place."""


class PlainFile:
    """One that stays as it is, with its holes."""

    def __init__(self, descriptor: int, size: int) -> None:
        self._file = descriptor
        os.ftruncate(descriptor, size)

    def read(self, at: int, length: int) -> bytes:
        """What is there."""
        return os.pread(self._file, length, at)

    def write(self, at: int, data: bytes | memoryview) -> None:
        """With its holes."""
        sparse.write(self._file, memoryview(data), at, len(data))


@contextmanager
def opened(folder: Path, name: str, size: int, key: bytes | None) -> Iterator[PieceFile]:
    """A file of the version in `folder`, whose manifest is there already; on the disk when this ends. Raises OSError.

    Without a `key` nothing is encrypted.
    """
    path = folder / name
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with sparse.opened(path, os.O_RDWR | os.O_CREAT) as descriptor:
        if key is None or encrypted_version.stays_clear(name):
            yield PlainFile(descriptor, size)
        else:
            passphrase = encrypted_version.passphrase(key, _manifest(folder), name)
            kind = SealedFile if encrypted_version.is_sealed(name) else LuksFile
            yield kind(descriptor, size, passphrase)
        os.fsync(descriptor)


def hashed(part: Part, data: bytes) -> bytes:
    """As the manifest has a piece: a large file's are leaves of its tree, a small one is hashed as it is."""
    return digest.leaf(data) if part.root else hashlib.sha256(data).digest()


def finish(folder: Path, key: bytes) -> None:
    """All has come and was compared: write down what it came to. Raises Refusal or OSError."""
    signed = manifest.read_signed(folder, layout.MANIFEST)
    known = manifest.parse(signed, folder / layout.MANIFEST)
    files: dict[str, EncryptedPart] = {}
    for name, part in known.parts.items():
        if not encrypted_version.stays_clear(name):
            files[name] = encrypted_version.fact(folder / name, part.size)
    described = description.read(folder / layout.DESCRIPTION)
    if described.variables and not encrypted_version.stays_clear(described.variables):
        what = f"{folder / described.variables}: UEFI variables are in a file that ends with .fd, or they are encrypted"
        raise Refusal(ExitCode.IMAGE, what, hint="its maker can call it variables.fd")
    with ExitStack() as stack:
        disk = _Plain(stack, folder, {name: fact.plain for name, fact in files.items()}, key)
        layers, size = images.walk(folder / described.disk, described.format, disk)
    home = folder.resolve()
    facts = tuple(EncryptedLayer(str(layer.path.relative_to(home)), layer.format) for layer in layers)
    encrypted_version.write(folder, encrypted_version.new(signed, files, facts, size), key)


class _Plain(DiskFiles):
    """The files of a disk, of which the headers are read through their encryption."""

    def __init__(self, stack: ExitStack, folder: Path, sizes: dict[str, int], key: bytes) -> None:
        self._stack, self._home, self._sizes, self._key = stack, folder.resolve(), sizes, key

    def header(self, path: Path) -> qcow2.Header:
        """Raises OSError, HeaderError."""
        return qcow2.read_from(io.BufferedReader(PlainReader(self._opened(path))))

    def size(self, path: Path) -> int:
        """Of the plain text."""
        return self._sizes[str(path.relative_to(self._home))]

    def _opened(self, path: Path) -> EncryptedFile:
        name = str(path.relative_to(self._home))
        descriptor = self._stack.enter_context(sparse.opened(path))
        passphrase = encrypted_version.passphrase(self._key, _manifest(self._home), name)
        return LuksFile.opened(descriptor, self._sizes[name], passphrase)


def _manifest(folder: Path) -> str:
    return hashlib.sha256(manifest.read_signed(folder, layout.MANIFEST)).hexdigest()
