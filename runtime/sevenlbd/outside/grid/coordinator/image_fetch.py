"""An image comes, piece by piece: proved before it is paid for, verified as it comes, gone on with after any end.

First the manifest, whose digest was offered; then its signature, which must be a trusted key's before anything large is
asked for; then the tree, which proves every piece. Pieces of zeroes are holes, and are not asked for. What lies there
of an earlier attempt is hashed and kept if it is right, so neither a full disk nor SIGKILL costs a byte twice.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from ....base import atomic
from ....base.errors import Refusal
from ....images.arrival.arriving import PieceFile, hashed
from ....images.layout import MANIFEST, PLACES, SIGNATURE, TREE
from ....images.signing import digest, manifest, signature, verified
from ....images.signing.manifest import SIGNATURE_FILES, Altered, Manifest, Part
from ..client import PoolGone
from ..protocol import OfferedImage
from .bandwidth import ChangingRate
from .happenings import FetchEnded, FetchOutcome
from .image_store import ImageStore
from .stages import ImageVersion

type GetBytes = Callable[[OfferedImage, str, int, int], Iterator[bytes]]
"""Bytes `begin` to `end` of a file. Raises Refusal when the service, or the line, is at fault."""
_FULL = (errno.ENOSPC, errno.EDQUOT)
_PIECE = 256 << 10  # what is paid for to the bucket at once
# Tries of a piece at a pool that has no place for it, and seconds between them at most: guesses. It is on its way in
# twenty minutes, or the pool has more to do than to send images.
_MOST_TURNS, _LONGEST_TURN = 60, 120.0


class _Stopped(Exception):
    """It shall not go on now."""


class ImageFetch:
    """One attempt to have an image. `over` ends it soon."""

    def __init__(
        self, offered: OfferedImage, store: ImageStore, keys: Sequence[str], get: GetBytes, rate: ChangingRate
    ) -> None:
        self.over = threading.Event()
        self.bytes = 0
        """That have come, by this attempt."""
        self._offered, self._store, self._keys, self._get, self._rate = offered, store, keys, get, rate
        self._image = ImageVersion(offered.name, offered.version, offered.manifest)

    def run(self) -> FetchEnded:
        """To its end, whatever that is."""
        try:
            if not self._store.is_whole(self._image):
                self._fetch(self._store.part(self._image))
                self._store.finish(self._image)
            return self._ended(FetchOutcome.WHOLE, "")
        except _Stopped:
            return self._ended(FetchOutcome.STOPPED, "the machine is its owner's now")
        except Altered as altered:
            return self._ended(FetchOutcome.ALTERED, altered.what)
        except Refusal as refusal:
            return self.broken(refusal.what)
        except OSError as error:
            full = error.errno in _FULL
            return self._ended(FetchOutcome.FULL if full else FetchOutcome.BROKEN, error.strerror or str(error))

    def broken(self, why: str) -> FetchEnded:
        """It is tried again later."""
        return self._ended(FetchOutcome.BROKEN, why)

    def _ended(self, outcome: FetchOutcome, why: str) -> FetchEnded:
        return FetchEnded(self._offered.manifest, outcome, why, self.bytes)

    def _fetch(self, place: Path) -> None:
        known = self._approved(place)
        leaves = self._proofs(place, known)
        for name, part in known.parts.items():
            self._part(place, name, part, leaves.get(name, ()))

    def _approved(self, place: Path) -> Manifest:
        """What it consists of, when a trusted key has signed just that. Raises Altered."""
        content = self._whole(MANIFEST)
        if hashlib.sha256(content).hexdigest() != self._offered.manifest:
            raise Altered(f"{self._image}: its manifest has another digest than was offered")
        for name in SIGNATURE_FILES:
            if (place / name).is_symlink() or (place / name).is_dir():
                raise Altered(f"{place / name}: is not a file of ours")
        atomic.replace(place / MANIFEST, content)
        for name in (SIGNATURE, PLACES):
            if name == SIGNATURE or self._offers(name):
                atomic.replace(place / name, self._whole(name))
        try:
            signature.check(place, self._keys)
        except Altered:
            raise
        except Refusal as refusal:  # by a key that nobody here trusts, or by none
            raise Altered(refusal.what, hint=refusal.hint) from None
        known = manifest.parse(content, place / MANIFEST)
        verified.check_place(place, known.name, known.version)
        sizes = {file.name: file.size for file in self._offered.files if file.name not in SIGNATURE_FILES}
        if sizes != {name: part.size for name, part in known.parts.items()}:
            raise Altered(f"{self._image}: other files were offered than were signed")
        return known

    def _proofs(self, place: Path, known: Manifest) -> Mapping[str, tuple[bytes, ...]]:
        """The hashes of all pieces, proved. Raises Altered."""
        atomic.replace(place / TREE, self._whole(TREE) if self._offers(TREE) else b"")
        return manifest.read_leaves(place, known)

    def _offers(self, name: str) -> bool:
        return any(file.name == name and file.size for file in self._offered.files)

    def _whole(self, name: str) -> bytes:
        """A small file. Raises Altered when it is not offered, or is not small."""
        size = next((file.size for file in self._offered.files if file.name == name), -1)
        if not 0 < size <= manifest.MOST_SIGNED:
            raise Altered(f"{self._image}: is offered without {name}, or with one of {size} bytes")
        return b"".join(self._bytes(name, 0, size))

    def _part(self, place: Path, name: str, part: Part, leaves: Sequence[bytes]) -> None:
        with self._store.file(place, name, part.size) as file:
            for index in range(max(1, digest.count(part.size))):
                self._piece(file, name, part, index, leaves[index] if part.root else bytes.fromhex(part.sha256))

    def _piece(self, file: PieceFile, name: str, part: Part, index: int, expected: bytes) -> None:
        at, length = index * digest.CHUNK, digest.length(part.size, index)
        if self.over.is_set():
            raise _Stopped
        if hashed(part, file.read(at, length)) == expected:
            return
        zeroes = bytes(length)
        is_hole = hashed(part, zeroes) == expected
        data = zeroes if is_hole else b"".join(self._bytes(name, at, at + length))
        if hashed(part, data) != expected:
            raise Altered(f"{self._image}: {name}: bytes {at} to {at + length} are not what was signed")
        file.write(at, data)

    def _bytes(self, name: str, begin: int, end: int) -> Iterator[bytes]:
        """As they come. A pool that sends as much as it can is asked again when it says; no failure, as all wait so."""
        for number in itertools.count(1):
            try:
                yield from self._paid(name, begin, end)
                return
            except PoolGone as busy:  # said before any byte: what breaks off says no time
                if not busy.after or number == _MOST_TURNS:
                    raise
                if self.over.wait(min(busy.after, _LONGEST_TURN) * random.uniform(0.5, 1.5)):
                    raise _Stopped from None

    def _paid(self, name: str, begin: int, end: int) -> Iterator[bytes]:
        """No quicker than they may come."""
        for piece in self._get(self._offered, name, begin, end):
            self.bytes += len(piece)
            for start in range(0, len(piece), _PIECE):
                self._rate.take(min(_PIECE, len(piece) - start), self.over)
                if self.over.is_set():
                    raise _Stopped
            yield piece
