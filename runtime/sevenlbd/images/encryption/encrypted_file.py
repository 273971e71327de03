"""A file of an image, encrypted as it comes: written and read in pieces, in any order, as often as it takes.

Two kinds. A disk is a LUKS container with the file's very bytes in it, which QEMU reads by itself. What QEMU does not
read from a file, a warm machine's memory and devices, has pieces in AES-256-GCM, and keeps holes as holes: two GiB of
memory are mostly zeroes, and are decrypted at each start.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from typing import Protocol, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ..cache.sparse import extents
from . import luks
from .luks import SECTOR, WrongKey

PIECE = 256 << 10
"""Bytes of plain text that are sealed at once; a divisor of what a manifest's trees are made of."""
_NONCE, _TAG = 12, 16  # bytes (NIST SP 800-38D)
_SLOT = _NONCE + PIECE + _TAG


class EncryptedFile(Protocol):
    """An open one."""

    size: int
    """Of the plain text, in bytes."""

    def read(self, at: int, length: int) -> bytes:
        """Plain text; what never came reads as anything. Raises OSError."""

    def write(self, at: int, data: bytes | memoryview) -> None:
        """Put plain text in its place; `at` is a multiple of `PIECE`, and so is the length but at the end."""


class LuksFile:
    """A container that QEMU opens (driver `luks`)."""

    def __init__(self, descriptor: int, size: int, passphrase: str) -> None:
        """Open what is there; what was not begun, or is none of this key's, is begun anew. Raises OSError."""
        self.size = size
        self._file = descriptor
        try:
            self._master = luks.master_key(os.pread(descriptor, luks.PAYLOAD, 0), passphrase)
        except WrongKey:
            head, self._master = luks.header(passphrase)
            os.ftruncate(descriptor, 0)
            _write_all(descriptor, head, 0)
            os.fsync(descriptor)
        os.ftruncate(descriptor, luks.PAYLOAD + _padded(size))

    @classmethod
    def opened(cls, descriptor: int, size: int, passphrase: str) -> Self:
        """Open one that is whole, for reading. Raises OSError or WrongKey."""
        whole = cls.__new__(cls)
        whole.size, whole._file = size, descriptor
        whole._master = luks.master_key(os.pread(descriptor, luks.PAYLOAD, 0), passphrase)
        return whole

    def read(self, at: int, length: int) -> bytes:
        """Plain text."""
        length = max(0, min(length, self.size - at))
        begin, end = at // SECTOR * SECTOR, _padded(at + length)
        data = os.pread(self._file, end - begin, luks.PAYLOAD + begin)
        if not data.rstrip(b"\0"):
            return data[:length]  # it never came, and is compared with what it should be: no need to decrypt
        return luks.decrypted(self._master, data, begin // SECTOR)[at - begin : at - begin + length]

    def write(self, at: int, data: bytes | memoryview) -> None:
        """Zeroes, too: a hole would be read as anything."""
        whole = bytes(data).ljust(_padded(len(data)), b"\0")
        _write_all(self._file, luks.encrypted(self._master, whole, at // SECTOR), luks.PAYLOAD + at)


class SealedFile:
    """Pieces that are each encrypted and authenticated, at places of their own. A piece of zeroes is a hole."""

    def __init__(self, descriptor: int, size: int, passphrase: str) -> None:
        self.size = size
        self._file = descriptor
        self._cipher = AESGCM(bytes.fromhex(passphrase))
        length = -(-size // PIECE) * _SLOT
        if os.fstat(descriptor).st_size != length:
            os.ftruncate(descriptor, length)

    @classmethod
    def opened(cls, descriptor: int, size: int, passphrase: str) -> Self:
        """Open one that is whole, for reading."""
        whole = cls.__new__(cls)
        whole.size, whole._file, whole._cipher = size, descriptor, AESGCM(bytes.fromhex(passphrase))
        return whole

    def read(self, at: int, length: int) -> bytes:
        """Plain text; a piece that was altered reads as nothing, which no digest agrees with."""
        pieces = (self.piece(number) for number in range(at // PIECE, -(-min(at + length, self.size) // PIECE)))
        skipped = at % PIECE
        return b"".join(self._length(number) if piece is None else piece for number, piece in pieces)[
            skipped : skipped + length
        ]

    def _length(self, number: int) -> bytes:
        return bytes(min(PIECE, self.size - number * PIECE))

    def extents(self) -> Iterator[tuple[int, int]]:
        """Numbers of pieces between which there may be others than holes."""
        for start, end in extents(self._file, 0, -(-self.size // PIECE) * _SLOT):
            yield start // _SLOT, -(-end // _SLOT)

    def piece(self, number: int) -> tuple[int, bytes | None]:
        """A piece with its number; None for a hole."""
        slot = os.pread(self._file, _SLOT, number * _SLOT)
        if not slot.rstrip(b"\0"):
            return number, None
        length = _NONCE + len(self._length(number)) + _TAG
        try:
            return number, self._cipher.decrypt(slot[:_NONCE], slot[_NONCE:length], self._about(number))
        except InvalidTag:
            return number, b""

    def write(self, at: int, data: bytes | memoryview) -> None:
        """Each piece with a nonce of its own, drawn at random: no key has so many that two would meet."""
        for offset in range(0, len(data), PIECE):
            number, piece = (at + offset) // PIECE, bytes(data[offset : offset + PIECE])
            if not piece.rstrip(b"\0"):
                sealed = b""
            else:
                nonce = os.urandom(_NONCE)
                sealed = nonce + self._cipher.encrypt(nonce, piece, self._about(number))
            if sealed or os.pread(self._file, _SLOT, number * _SLOT).rstrip(b"\0"):
                _write_all(self._file, sealed.ljust(_SLOT, b"\0"), number * _SLOT)

    def _about(self, number: int) -> bytes:
        return f"{self.size} {number}".encode()


class PlainReader(io.RawIOBase):
    """The plain text as a file to read and seek in."""

    def __init__(self, file: EncryptedFile) -> None:
        self._file, self._at = file, 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Anywhere."""
        begin = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._file.size}[whence]
        self._at = begin + offset
        return self._at

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]  # any buffer; readers give this
        """The next bytes."""
        data = self._file.read(self._at, len(buffer)) if self._at < self._file.size else b""
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def _padded(size: int) -> int:
    return -(-size // SECTOR) * SECTOR


def _write_all(descriptor: int, data: bytes, at: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, at)
        view, at = view[written:], at + written
