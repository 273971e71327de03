"""A LUKS header for a key of 256 random bits. Sources: LUKS1 On-Disk Format 1.2.3; QEMU, crypto/block-luks.c.

qemu-img could write it, but measures for two seconds of CPU how many rounds of PBKDF2 make a passphrase hard to guess.
Nobody guesses 256 bits: the least number of rounds that the format has is as good, and a disk is made and opened in
milliseconds.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import struct
import uuid

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

SECTOR = 512
"""Bytes; what is encrypted at once, and what offsets are counted in."""
_KEY = 64  # bytes: AES-256 in XTS has two keys
_STRIPES, _SLOTS = 4000, 8  # the format's own; QEMU takes no others
_ROUNDS = 1000  # the least that QEMU writes (crypto/block-luks.c)
_HASH, _DIGEST = "sha256", hashlib.sha256().digest_size
_ENABLED, _DISABLED = 0x00AC71F3, 0x0000DEAD  # of a key slot (LUKS1 On-Disk Format, 4)
_HEAD = struct.Struct(">6sH32s32s32sII20s32sI40s")
_SLOT = struct.Struct(">II32sII")
_MATERIAL = -(-_KEY * _STRIPES // 4096) * 4096 // SECTOR  # sectors; aligned as QEMU does
_FIRST = 4096 // SECTOR  # the sector of the first slot's material
PAYLOAD = (_FIRST + _SLOTS * _MATERIAL) * SECTOR
"""Bytes of the header; what is encrypted begins behind them."""


class WrongKey(Exception):
    """The header is none of ours, or another key opens it."""


def header(passphrase: str) -> tuple[bytes, bytes]:
    """A new header, `PAYLOAD` bytes long, that `passphrase` opens; and its master key, which is random."""
    master, salt, digest_salt = os.urandom(_KEY), os.urandom(32), os.urandom(32)
    digest = hashlib.pbkdf2_hmac(_HASH, master, digest_salt, _ROUNDS, 20)
    name = str(uuid.uuid4()).encode()
    head = _HEAD.pack(
        *(b"LUKS\xba\xbe", 1, b"aes", b"xts-plain64", _HASH.encode(), PAYLOAD // SECTOR, _KEY),
        *(digest, digest_salt, _ROUNDS, name),
    )
    for number in range(_SLOTS):
        state, rounds, its_salt = (_ENABLED, _ROUNDS, salt) if number == 0 else (_DISABLED, 0, bytes(32))
        head += _SLOT.pack(state, rounds, its_salt, _FIRST + number * _MATERIAL, _STRIPES)
    derived = hashlib.pbkdf2_hmac(_HASH, passphrase.encode(), salt, _ROUNDS, _KEY)
    material = encrypted(derived, _split(master))
    return (head.ljust(_FIRST * SECTOR, b"\0") + material).ljust(PAYLOAD, b"\0"), master


def master_key(head: bytes, passphrase: str) -> bytes:
    """The master key of a header that `header` made. Raises WrongKey."""
    if len(head) < PAYLOAD or head[:8] != b"LUKS\xba\xbe\0\1":
        raise WrongKey("it does not begin as a file that was encrypted here")
    fields = _HEAD.unpack_from(head)
    digest, digest_salt, rounds = fields[7:10]
    _, slot_rounds, salt, at, stripes = _SLOT.unpack_from(head, _HEAD.size)
    if (rounds, slot_rounds, at, stripes) != (_ROUNDS, _ROUNDS, _FIRST, _STRIPES):
        raise WrongKey("its header is not one that was written here")
    derived = hashlib.pbkdf2_hmac(_HASH, passphrase.encode(), salt, _ROUNDS, _KEY)
    begin = _FIRST * SECTOR
    master = _merged(decrypted(derived, head[begin : begin + _KEY * _STRIPES]))
    if not hmac.compare_digest(hashlib.pbkdf2_hmac(_HASH, master, digest_salt, _ROUNDS, 20), digest):
        raise WrongKey("another key opens it")
    return master


def _split(master: bytes) -> bytes:
    """The key over `_STRIPES` stripes, all of which are needed to have it back (the format's "AF splitter")."""
    stripes = [os.urandom(len(master)) for _ in range(_STRIPES - 1)]
    return b"".join((*stripes, _xor(_mixed(stripes), master)))


def _merged(material: bytes) -> bytes:
    stripes = [material[at : at + _KEY] for at in range(0, len(material), _KEY)]
    return _xor(_mixed(stripes[:-1]), stripes[-1])


def _mixed(stripes: list[bytes]) -> bytes:
    mixed = bytes(_KEY)
    for stripe in stripes:
        mixed = _diffused(_xor(mixed, stripe))
    return mixed


def _xor(one: bytes, other: bytes) -> bytes:
    return (int.from_bytes(one) ^ int.from_bytes(other)).to_bytes(len(one))


def _diffused(block: bytes) -> bytes:
    pieces = (block[at : at + _DIGEST] for at in range(0, len(block), _DIGEST))
    return b"".join(
        hashlib.sha256(number.to_bytes(4) + piece).digest()[: len(piece)] for number, piece in enumerate(pieces)
    )


def encrypted(key: bytes, data: bytes | memoryview, first: int = 0) -> bytes:
    """Whole sectors in AES-XTS, each with its number as the tweak (`plain64`); the first one's is `first`."""
    algorithm = algorithms.AES(key)
    return b"".join(
        Cipher(algorithm, _mode(first + number)).encryptor().update(data[number * SECTOR : (number + 1) * SECTOR])
        for number in range(len(data) // SECTOR)
    )


def decrypted(key: bytes, data: bytes | memoryview, first: int = 0) -> bytes:
    """The other way."""
    algorithm = algorithms.AES(key)
    return b"".join(
        Cipher(algorithm, _mode(first + number)).decryptor().update(data[number * SECTOR : (number + 1) * SECTOR])
        for number in range(len(data) // SECTOR)
    )


def _mode(sector: int) -> modes.XTS:
    return modes.XTS(sector.to_bytes(16, "little"))
