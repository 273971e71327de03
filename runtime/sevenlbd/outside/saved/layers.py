"""What a saved desktop stands on: the image's files with their digests, which are computed once for each file.

Which file it is is told by inode, size and times, as with signed images (images/signing/verified): a changed one has
another time of status change, which no user can set back.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ...base import atomic, foreign_files
from ...images.image_lock import identity
from ...images.signing import digest
from ...wire.codec import Codec, Malformed
from .facts import LayerFact

_KNOWN = "digests.json"
_MOST_BYTES = 256 << 10  # a guess: a user's images have some hundred files at most, 300 bytes each
_MOST_ENTRIES = 500  # as many as that has room for
_COARSE_NS = 2_000_000_000  # ext3 and some file servers count whole seconds, FAT two: what is younger may change unseen

Advance = Callable[[int], None]


@dataclass(frozen=True)
class KnownDigest:
    """Which file it was, and what its content came to."""

    identity: str
    root: str


@dataclass(frozen=True)
class KnownDigests:
    """By path."""

    files: dict[str, KnownDigest]


_TABLES: Codec[KnownDigests] = Codec(KnownDigests)


def fact(path: Path, name: str, kind: str, known: Path | None, advance: Advance = lambda _: None) -> LayerFact:
    """The fact of one file. `known` is the user's own folder, with the digests of before. Raises OSError, Changed."""
    status = path.stat()
    who = " ".join(map(str, identity(status)))
    table = _read(known)
    entry = table.get(str(path))
    if entry and entry.identity == who:
        return LayerFact(name, kind, status.st_size, entry.root)
    root = digest.root(digest.leaves(path, status.st_size, advance)).hex()
    if known and status.st_ctime_ns < time.time_ns() - _COARSE_NS:
        _remember(known, table, str(path), KnownDigest(who, root))
    return LayerFact(name, kind, status.st_size, root)


def _read(known: Path | None) -> dict[str, KnownDigest]:
    """What is known; nothing when it cannot be read. The folder is the user's alone."""
    if known is None:
        return {}
    try:
        return _TABLES.unpack(foreign_files.read(known, _KNOWN, _MOST_BYTES)).files
    except (OSError, Malformed):
        return {}


def _remember(known: Path, table: dict[str, KnownDigest], path: str, digest: KnownDigest) -> None:
    """Add one. A home that is full or read-only costs the next time its time, nothing else."""
    kept = dict(list(table.items())[1 - _MOST_ENTRIES :]) | {path: digest}
    with suppress(OSError):
        if known.lstat().st_uid == os.getuid():
            atomic.replace(known / _KNOWN, _TABLES.pack(KnownDigests(kept)))
