"""A coordinator's own repository: each version under the digest of its manifest, a repository of one.

    images/DIGEST/NAME/VERSION/       whole: it got this name by one rename, and is read-only
    images/.part-DIGEST/NAME/VERSION/ on its way

So a version that was made anew under an old name stands beside the old one, and nothing is ever replaced in place.
What is in here is believed nothing: it is verified as it comes, and again before each start.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from ....base.errors import Refusal
from ....images import names
from ....images.arrival import approved, arriving
from ....images.arrival.arriving import PieceFile
from ....images.repository import readonly
from .happenings import HeldVersion
from .stages import ImageVersion

_DIGEST = re.compile(r"[0-9a-f]{64}")
_PART = ".part-"


class ImageStore:
    """The folder of one coordinator's images. Methods raise OSError."""

    def __init__(self, folder: Path, key: bytes | None = None) -> None:
        """With a `key`, what comes is encrypted."""
        self._folder, self._key = folder, key

    def open(self, key: bytes) -> None:
        """From now on what comes is encrypted with this, and what is here is read with it."""
        self._key = key

    def held(self) -> tuple[HeldVersion, ...]:
        """All that is here; what makes no sense is removed."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = [self._look(path) for path in sorted(self._folder.iterdir())]
        return tuple(one for one in found if one)

    def _look(self, path: Path) -> HeldVersion | None:
        digest, whole = path.name.removeprefix(_PART), not path.name.startswith(_PART)
        places = [version for name in _folders(path) for version in _folders(name)]
        if not _DIGEST.fullmatch(digest) or len(places) != 1 or not _is_reference(places[0]):
            _remove(path)
            return None
        place = places[0]
        wanted = max(0.0, time.time() - path.stat().st_mtime)
        return HeldVersion(place.parent.name, place.name, digest, self.size(place), whole, wanted)

    def repository(self, image: ImageVersion) -> Path:
        """Where `run` looks for it by its name."""
        return self._folder / image.digest

    def folder(self, image: ImageVersion) -> Path:
        """The whole version's."""
        return self.repository(image) / image.name / image.version

    def part(self, image: ImageVersion) -> Path:
        """Where it comes to, made; also when an earlier life was killed just before it was whole."""
        place = self._folder / f"{_PART}{image.digest}" / image.name / image.version
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        readonly.reopen(place)
        return place

    def is_whole(self, image: ImageVersion) -> bool:
        """Whether it has come already."""
        return self.folder(image).is_dir()

    def file(self, place: Path, name: str, size: int) -> AbstractContextManager[PieceFile]:
        """A file of a version that is on its way, by pieces of its plain text; on the disk when this ends."""
        return arriving.opened(place, name, size, self._key)

    def finish(self, image: ImageVersion) -> None:
        """All of it has come: from now on nobody writes to it, and it is whole also after a power cut.

        Raises Refusal.
        """
        part = self._folder / f"{_PART}{image.digest}" / image.name / image.version
        if self._key:
            arriving.finish(part, self._key)
        readonly.close(part)
        part.parents[1].rename(self.repository(image))

    def drop(self, digest: str) -> None:
        """Remove it, whole or not."""
        for name in (digest, f"{_PART}{digest}"):
            _remove(self._folder / name)

    def touch(self, digest: str, at: float) -> None:
        """It was wanted then, in seconds since the epoch: what an idle coordinator's next life evicts by."""
        for name in (digest, f"{_PART}{digest}"):
            with suppress(OSError):
                os.utime(self._folder / name, (at, at))

    def check(self, image: ImageVersion, keys: Sequence[str], memory: Path) -> str:
        """Verify all of it; returns why it must not be started, or nothing."""
        folder = self.folder(image)
        try:
            approved.check(folder, keys, memory, self._key)
        except (Refusal, OSError) as error:
            return getattr(error, "what", "") or str(error)
        return ""

    @staticmethod
    def size(place: Path) -> int:
        """Bytes that it takes on the disk."""
        total = 0
        for inner, _, files in os.walk(place):
            for name in files:
                with suppress(OSError):
                    total += (Path(inner) / name).lstat().st_blocks * 512  # stat(2)
        return total


def _folders(path: Path) -> list[Path]:
    with suppress(OSError):
        return [entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
    return []


def _is_reference(place: Path) -> bool:
    return names.is_name(place.parent.name) and names.is_version(place.name)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        readonly.remove(path)
    else:
        path.unlink(missing_ok=True)
