"""A passphrase instead of a key: scrypt (RFC 7914) makes a key of age's of it, and its salt stands in the header.

age's own way for passphrases is not streamed by the library, and measures the machine for its work: up to a GiB of
memory, which a job beside its guest has not.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import unicodedata

import pyrage

from ...base.errors import ExitCode, Refusal
from .facts import Lock

_WORK = 17  # the cost is two to this power, at 1 KiB of memory each: 128 MiB, half a second (OWASP's choice for scrypt)
_LEAST_WORK, _MOST_WORK = 15, 18  # what is read from a file: 256 MiB and a second at most
_BLOCKS = 8  # scrypt's r, as everybody has it
_MOST_MEMORY = 512 << 20  # bytes; OpenSSL asks for a limit
_HOW = re.compile(r"scrypt ([0-9]{2}) ([0-9a-f]{32})")
_HUMAN_PART = "age-secret-key-"  # age's name for a secret key (age-encryption.org/v1, X25519)
_LETTERS = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"  # BIP 173
_GENERATORS = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)  # BIP 173


def lock(passphrase: str) -> Lock:
    """What a passphrase comes to with a salt of its own: enough to write, and not to read."""
    how = f"scrypt {_WORK} {secrets.token_hex(16)}"
    return locked(identity(passphrase, how), how)


def locked(key: pyrage.x25519.Identity, how: str) -> Lock:
    """The lock that this key opens."""
    return Lock(str(key.to_public()), how)


def identity(passphrase: str, how: str) -> pyrage.x25519.Identity:
    """The key of a passphrase; `how` is as a file says. Raises Refusal for what would cost too much, or too little."""
    told = _HOW.fullmatch(how)
    if not told or not _LEAST_WORK <= int(told[1]) <= _MOST_WORK:
        what = "it is closed with a passphrase in a way that this 7lbd does not know"
        raise Refusal(ExitCode.USAGE, what, hint="use the 7lbd that wrote it, or a newer one")
    text = unicodedata.normalize("NFC", passphrase).encode()
    work = 1 << int(told[1])
    salt = bytes.fromhex(told[2])
    raw = hashlib.scrypt(text, salt=salt, n=work, r=_BLOCKS, p=1, maxmem=_MOST_MEMORY, dklen=32)
    return pyrage.x25519.Identity.from_str(_bech32(raw).upper())


def _bech32(raw: bytes) -> str:
    """As age writes a key of 32 bytes (BIP 173)."""
    bits = "".join(f"{byte:08b}" for byte in raw)
    bits += "0" * (-len(bits) % 5)
    values = [int(bits[at : at + 5], 2) for at in range(0, len(bits), 5)]
    sum_of = _checksum([*(ord(c) >> 5 for c in _HUMAN_PART), 0, *(ord(c) & 31 for c in _HUMAN_PART), *values])
    return f"{_HUMAN_PART}1{''.join(_LETTERS[value] for value in (*values, *sum_of))}"


def _checksum(values: list[int]) -> list[int]:
    rest = 1
    for value in [*values, *[0] * 6]:
        top = rest >> 25
        rest = (rest & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate(_GENERATORS):
            rest ^= generator if top >> bit & 1 else 0
    return [(rest ^ 1) >> shift & 31 for shift in (25, 20, 15, 10, 5, 0)]
