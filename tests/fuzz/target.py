"""What a target is: a parser, what it may raise, and how to begin."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

Parse = Callable[[bytes], None]


@dataclass(frozen=True)
class Target:
    """`made` gives the parser: called once, in the process that fuzzes. It raises nothing but for a broken promise."""

    name: str
    made: Callable[[], Parse]
    watched: tuple[str, ...]
    """Packages whose branches guide the search."""
    seeds: Callable[[], tuple[bytes, ...]] = tuple
    longest: int = 4096
    """Bytes of an input."""


@cache
def folder() -> Path:
    """A folder in memory for parsers that read files."""
    place = Path(tempfile.mkdtemp(prefix="7lbd-fuzz-", dir="/dev/shm"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    return place


def file(name: str, data: bytes) -> Path:
    """A file with just these bytes."""
    path = folder() / name
    path.write_bytes(data)
    return path


def check_shown(text: str, most: int = 8192) -> None:
    """A text that people see is bounded, and harmless for a terminal."""
    assert len(text) <= most, len(text)
    assert text.isprintable(), repr(text[:200])
