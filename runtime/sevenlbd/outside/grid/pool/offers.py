"""The images that a pool offers: the current versions of a repository as it is, signed ones alone.

Nothing that a machine says becomes a path: it is looked up in a table of what is there. A version that is replaced
stays in the table for a while, for machines that are fetching it.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ....base import foreign_files
from ....base.errors import ExitCode, Refusal
from ....images import layout
from ....images.lookup import image as images
from ....images.lookup import repositories
from ....images.names import Reference
from ....images.signing import manifest
from ....wire import codec
from ....wire.codec import Malformed
from ..protocol import OfferedFile, OfferedImage
from ..record_limits import MOST_IMAGES

_FRESH = 15.0  # seconds; a guess: what was published is offered after so long
_KEPT = 86400.0  # seconds that a version which is not current any more is served on; a guess: a slow fetch takes a day
_SIGNED = (layout.MANIFEST, layout.TREE, layout.SIGNATURE, layout.PLACES)


class NotOffered(Exception):
    """There is no such file, or not any more."""


@dataclass(frozen=True)
class _Served:
    folder: Path
    sizes: Mapping[str, int]
    until: float


@dataclass(frozen=True)
class Inventory:
    """What is offered now."""

    images: tuple[OfferedImage, ...] = ()
    digest: str = ""
    """Changes with it."""
    refused: tuple[str, ...] = ()
    """What is there and is not offered, in sentences."""

    @property
    def names(self) -> list[str]:
        return [image.name for image in self.images]


class Offers:
    """The images of some repositories, in order of preference. Its methods wait for disks."""

    def __init__(self, folders: Sequence[Path], only: Sequence[str] = ()) -> None:
        self._folders, self._only = folders, frozenset(only)
        self._looked = -_FRESH
        self._served: dict[tuple[str, str], _Served] = {}
        self.inventory = Inventory(digest=_digest(()))

    def look(self) -> Inventory:
        """What is offered, as of some seconds ago."""
        now = time.monotonic()
        if now - self._looked >= _FRESH:
            self._looked = now
            self.inventory = self._inventory(now)
        return self.inventory

    def _inventory(self, now: float) -> Inventory:
        found, refused = list[OfferedImage](), list[str]()
        for name in images.available(self._folders)[:MOST_IMAGES]:
            if self._only and name not in self._only:
                continue
            try:
                reference, folder = repositories.locate(Reference(name), self._folders)
                offered = _offered(reference, folder)
            except Refusal as refusal:
                refused.append(refusal.what)
                continue
            except (OSError, Malformed) as error:
                refused.append(f"{name}: {error}")
                continue
            found.append(offered)
            sizes = {file.name: file.size for file in offered.files}
            self._served[offered.name, offered.version] = _Served(folder, sizes, now + _KEPT)
        self._served = {key: served for key, served in self._served.items() if served.until > now}
        return Inventory(tuple(found), _digest(found), tuple(refused))

    @contextmanager
    def opened(self, name: str, version: str, file: str) -> Iterator[tuple[int, int]]:
        """A descriptor of a file that is offered, and its size. Raises NotOffered."""
        served = self._served.get((name, version))
        size = served.sizes.get(file) if served else None
        with ExitStack() as held:
            try:
                if served is None or size is None:
                    raise NotOffered
                descriptor = held.enter_context(foreign_files.opened(served.folder, file))
                if os.fstat(descriptor).st_size != size:
                    raise NotOffered
            except OSError:
                raise NotOffered from None
            yield descriptor, size


def _offered(reference: Reference, folder: Path) -> OfferedImage:
    """Raises Refusal, OSError and Malformed for what cannot be."""
    if not reference.version:
        hint = f"publish it as a version: 7lbd image add {reference.name}@1 ..."
        raise Refusal(ExitCode.IMAGE, f"{reference} is a folder without versions", hint=hint)
    if not manifest.exists(folder) or not (folder / layout.SIGNATURE).exists():
        hint = f"7lbd image sign {reference}"
        raise Refusal(ExitCode.IMAGE, f"{reference} is not signed: no machine would start it", hint=hint)
    content = manifest.read_signed(folder, layout.MANIFEST)
    said = manifest.parse(content, folder / layout.MANIFEST)
    files = {name: part.size for name, part in said.parts.items()}
    for name in _SIGNED:
        with suppress(FileNotFoundError):
            files[name] = (folder / name).stat().st_size
    listed = tuple(OfferedFile(name, size) for name, size in sorted(files.items()))
    return OfferedImage(reference.name, reference.version, hashlib.sha256(content).hexdigest(), listed)


def _digest(offered: Sequence[OfferedImage]) -> str:
    return hashlib.sha256(b"".join(map(codec.pack, offered))).hexdigest()
