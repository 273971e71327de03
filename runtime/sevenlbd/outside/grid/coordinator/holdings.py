"""The images that the coordinator holds, fetches, or wants: which is next, and which may go."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from ..protocol import OfferedImage
from .happenings import HeldVersion
from .stages import ImageVersion

# Seconds until a fetch that went wrong is tried again: it doubles from the first to the second.
_FIRST_WAIT, _LONGEST_WAIT = 30.0, 3600.0
_MOST = 2000  # entries; a guess: twice what a pool may offer


class ImageStage(StrEnum):
    """How much of it there is."""

    ABSENT = "absent"
    FETCHING = "being fetched"
    PARTIAL = "in part"
    WHOLE = "whole"
    BAD = "refused"


@dataclass
class Holding:
    """One version, told by the digest of its manifest."""

    image: ImageVersion
    size: int
    stage: ImageStage = ImageStage.ABSENT
    wanted: float = 0.0
    """When it was wanted last."""
    tries: int = 0
    not_before: float = 0.0
    why: str = ""
    lies: bool = False
    """Whether there is anything of it in the store."""

    def failed(self, now: float, why: str) -> None:
        """It is tried again later, and each time later."""
        self.not_before = now + min(_FIRST_WAIT * 2.0**self.tries, _LONGEST_WAIT)
        self.tries = min(self.tries + 1, 10)  # ten doublings are more than the longest wait
        self.why = why


@dataclass
class Holdings:
    """All of them, by digest; and what the pool offers, by name."""

    by_digest: dict[str, Holding] = field(default_factory=dict)
    offered: dict[str, OfferedImage] = field(default_factory=dict)

    def found(self, held: Iterable[HeldVersion], now: float) -> None:
        """What an earlier life has left."""
        for one in held:
            image = ImageVersion(one.name, one.version, one.digest)
            stage = ImageStage.WHOLE if one.whole else ImageStage.PARTIAL
            self.by_digest[one.digest] = Holding(image, one.size, stage, now - one.wanted, lies=True)

    def told(self, images: Sequence[OfferedImage]) -> None:
        """What is offered from now on. What is neither offered nor here is forgotten."""
        self.offered = {image.name: image for image in images}
        for image in images:
            known, found = self.by_digest.get(image.manifest), _version(image)
            if known is None and len(self.by_digest) < _MOST:
                self.by_digest[image.manifest] = Holding(found, image.size)
            elif known is not None and not known.lies:
                known.image, known.size = found, image.size
        offered = {image.manifest for image in images}
        for digest, holding in list(self.by_digest.items()):
            if digest not in offered and not holding.lies:
                del self.by_digest[digest]

    def current(self, name: str) -> Holding | None:
        """The version that new VMs of this name get, if it is known, and known by this name."""
        image = self.offered.get(name)
        known = self.by_digest.get(image.manifest) if image else None
        return known if image and known and known.image == _version(image) else None

    @property
    def fetching(self) -> Holding | None:
        """The one that is on its way; there is one at a time."""
        return next((one for one in self.by_digest.values() if one.stage is ImageStage.FETCHING), None)

    @property
    def here(self) -> list[Holding]:
        """Those that take room."""
        return [one for one in self.by_digest.values() if one.lies]

    def room_for(self, wanted: Holding, quota: int, kept: Collection[str]) -> list[Holding] | None:
        """Which have to go for it, the least recently wanted first; None when even that does not make room."""
        if not quota:
            return []
        others = [one for one in self.here if one is not wanted]
        need = sum(one.size for one in others) + wanted.size - quota
        going: list[Holding] = []
        for one in self.may_go(kept):
            if need <= 0:
                break
            if one is not wanted:
                going.append(one)
                need -= one.size
        return going if need <= 0 else None

    def may_go(self, kept: Collection[str]) -> list[Holding]:
        """Those that neither a VM nor a job needs, the least recently wanted first."""
        idle = [one for one in self.here if one.image.digest not in kept and one.stage is not ImageStage.FETCHING]
        return sorted(idle, key=lambda one: one.wanted)


def _version(image: OfferedImage) -> ImageVersion:
    return ImageVersion(image.name, image.version, image.manifest)
