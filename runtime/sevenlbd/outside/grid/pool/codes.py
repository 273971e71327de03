"""Enrolment codes: each opens the pool once, for a while. Kept are their digests alone.

A code is 128 random bits or more, so guessing it is no way in, and nobody is slowed down for having guessed wrong.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import string
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ....base import atomic, foreign_files
from .pool_folder import CODES

_LETTERS = string.ascii_lowercase + "234567"  # RFC 4648's base 32: nothing that people take for something else
_LENGTH = 26  # letters of 5 bits: 130
_MOST_BYTES = 4 << 10  # of a file: a time


def make(place: Path, lifetime: float) -> str:
    """A new code's secret, good for so many seconds. Raises OSError."""
    code = "".join(secrets.choice(_LETTERS) for _ in range(_LENGTH))
    atomic.replace(_file(place, code), json.dumps({"expires": time.time() + lifetime}).encode(), lasting=True)
    return code


def take(place: Path, code: str) -> bool:
    """Use a code up. False when there is none, or it is too old; of many who try one at a time, one gets True."""
    file = _file(place, code)
    good = _expires(file) > time.time()
    try:
        file.unlink()
    except OSError:
        return False
    return good


def waiting(place: Path) -> int:
    """How many are good still; those that are not are removed."""
    good = 0
    for file in list(_files(place)):
        if _expires(file) > time.time():
            good += 1
        else:
            with suppress(OSError):
                file.unlink()
    return good


def _file(place: Path, code: str) -> Path:
    return place / CODES / hashlib.sha256(code.encode()).hexdigest()


def _files(place: Path) -> Iterator[Path]:
    with suppress(OSError), os.scandir(place / CODES) as entries:
        yield from (Path(entry.path) for entry in entries if not entry.name.startswith("."))


def _expires(file: Path) -> float:
    with suppress(OSError, ValueError, TypeError, KeyError):
        return float(json.loads(foreign_files.read(file.parent, file.name, _MOST_BYTES))["expires"])
    return 0.0
