"""A version is copied from a repository that is to be read here, and encrypted on the way.

Each piece is compared with the manifest and then encrypted from the very memory that was compared. What has arrived
right is not read a second time, whatever ended the attempt before.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ...base import atomic
from ...base.errors import ExitCode, Refusal
from ..cache import sparse
from ..cache.fetch import RateLimit, Tally, Told, VersionSource
from ..repository import readonly
from ..signing import digest, manifest
from ..signing.manifest import Altered, Part
from . import arriving
from .arriving import PieceFile


def take(source: VersionSource, target: Path, key: bytes, rate: int = 0, report: Told = lambda _: None) -> Tally:
    """Make `target` the version, encrypted. Raises Refusal when the source is at fault, OSError when the target is."""
    if not source.manifest:
        what = f"{source.folder}: has no manifest, and what nobody vouches for is not taken encrypted"
        raise Refusal(ExitCode.IMAGE, what, hint="its maker can: 7lbd image sign")
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    readonly.reopen(target)
    for name, content in source.signed.items():
        atomic.replace(target / name, content)
    copy = _Copy(source, target, key, RateLimit(rate), report)
    leaves = manifest.read_leaves(target, source.manifest)
    for name, part in source.manifest.parts.items():
        copy.file(name, part, leaves.get(name, ()))
    arriving.finish(target, key)
    readonly.close(target)
    return copy.tally


class _Copy:
    """One call of `take`."""

    def __init__(self, source: VersionSource, target: Path, key: bytes, bucket: RateLimit, report: Told) -> None:
        self.tally = Tally(sum(status.st_size for status in source.files.values()))
        self._source, self._target, self._key, self._bucket, self._told = source, target, key, bucket, report

    def file(self, name: str, part: Part, leaves: Sequence[bytes]) -> None:
        """Raises Altered, OSError."""
        with (
            sparse.opened(self._source.folder / name) as origin,
            arriving.opened(self._target, name, part.size, self._key) as copy,
        ):
            for index in range(max(1, digest.count(part.size))):
                expected = leaves[index] if part.root else bytes.fromhex(part.sha256)
                self._piece(name, part, index, expected, origin, copy)

    def _piece(self, name: str, part: Part, index: int, expected: bytes, origin: int, copy: PieceFile) -> None:
        at, length = index * digest.CHUNK, digest.length(part.size, index)
        if arriving.hashed(part, copy.read(at, length)) == expected:
            self.tally = replace(self.tally, kept=self.tally.kept + length)
        else:
            self._bucket.take(length)
            data = os.pread(origin, length, at)
            if arriving.hashed(part, data) != expected:
                what = f"{self._source.folder / name}: was altered: bytes {at} to {at + length} are not what was signed"
                raise Altered(what)
            copy.write(at, data)
            self.tally = replace(self.tally, fetched=self.tally.fetched + length)
        self._told(self.tally)
