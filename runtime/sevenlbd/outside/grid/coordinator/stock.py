"""Which image is fetched, which is refused, and which goes to make room."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ....base import units
from .acts import DropImage, FetchImage, StopFetch
from .decisions import Decisions
from .happenings import FetchEnded, FetchOutcome
from .holdings import Holding, Holdings, ImageStage
from .terms import Terms


@dataclass(frozen=True)
class ImageNeeds:
    """What images are needed for, at this moment."""

    terms: Terms
    used: Collection[str]
    """Digests of those of which there are VMs."""
    waited: Sequence[str]
    """Names that jobs wait for, as far as anybody knows."""
    asked: Sequence[str]
    """Names that they waited for when the pool answered last."""


class Stock:
    """The images of one coordinator."""

    def __init__(self, holdings: Holdings, decisions: Decisions) -> None:
        self._holdings = holdings
        self._decisions = decisions

    def fetched(self, ended: FetchEnded, needs: ImageNeeds, now: float) -> None:
        """A fetch is over."""
        self._decisions.counts["fetched"] += ended.bytes
        holding = self._holdings.by_digest.get(ended.digest)
        if holding is None or holding.stage is not ImageStage.FETCHING:
            return
        match ended.outcome:
            case FetchOutcome.WHOLE:
                holding.stage, holding.tries = ImageStage.WHOLE, 0
            case FetchOutcome.STOPPED:
                holding.stage = ImageStage.PARTIAL
            case FetchOutcome.ALTERED:
                self.refuse(holding, ended.why, now)
                return
            case _:
                self._decisions.counts["failures"] += 1
                holding.stage = ImageStage.PARTIAL
                holding.failed(now, ended.why)
                going = [one for one in self._holdings.may_go(self._needed(needs)) if one is not holding]
                if ended.outcome is FetchOutcome.FULL and going:
                    self._drop(going[0], "the disk is full")
                    holding.not_before = now  # there is room now
        self._decisions.tell(f"image {holding.image}", holding.stage, ended.why)

    def refuse(self, holding: Holding, why: str, now: float) -> None:
        """It is not what we trust. Its files go as soon as nothing runs from them."""
        self._decisions.counts["failures"] += 1
        holding.stage = ImageStage.BAD
        holding.failed(now, why)
        self._decisions.tell(f"image {holding.image}", holding.stage, why)

    def tidy(self, needs: ImageNeeds, now: float) -> None:
        """What is refused goes, and may be tried again later."""
        for holding in list(self._holdings.by_digest.values()):
            if holding.stage is not ImageStage.BAD:
                continue
            if holding.lies and holding.image.digest not in needs.used:
                self._decisions.act(DropImage(holding.image.digest))
                holding.lies = False
            if not holding.lies and now >= holding.not_before:
                holding.stage = ImageStage.ABSENT

    def stop(self) -> None:
        """Nothing is fetched any more."""
        if fetching := self._holdings.fetching:
            self._decisions.act(StopFetch(fetching.image.digest))

    def fetch(self, needs: ImageNeeds, now: float) -> None:
        """One image at a time; what nobody wants makes room."""
        if self._holdings.fetching:
            return
        needed = self._needed(needs)
        for holding in self._missing(needs, now):
            going = self._holdings.room_for(holding, needs.terms.quota, needed)
            if going is None:
                name, size = holding.image.name, units.size(holding.size)
                self._decisions.tell_once(name, "quota", f"{size} do not fit into the quota")
                continue
            for one in going:
                self._drop(one, f"room for {holding.image}")
            holding.stage, holding.lies = ImageStage.FETCHING, True
            self._decisions.tell(f"image {holding.image}", holding.stage, "jobs wait for it, or it is to be held")
            self._decisions.act(FetchImage(self._holdings.offered[holding.image.name]))
            return

    def _missing(self, needs: ImageNeeds, now: float) -> list[Holding]:
        """What is wanted and not here: first for jobs, then what is to be held, or is, in an older version."""
        names = [*needs.waited, *needs.terms.keep]
        names += [one.image.name for one in self._holdings.here if one.stage is ImageStage.WHOLE]
        current = [holding for name in dict.fromkeys(names) if (holding := self._holdings.current(name))]
        absent = (ImageStage.ABSENT, ImageStage.PARTIAL)
        return [one for one in current if one.stage in absent and now >= one.not_before]

    def _drop(self, holding: Holding, why: str) -> None:
        holding.stage, holding.lies = ImageStage.ABSENT, False
        self._decisions.act(DropImage(holding.image.digest))
        self._decisions.tell(f"image {holding.image}", "dropped", why)

    def _needed(self, needs: ImageNeeds) -> set[str]:
        """Images that have to stay: a VM's, and the current ones of what is waited for or to be held."""
        names = [*needs.asked, *needs.terms.keep]
        current = {holding.image.digest for name in names if (holding := self._holdings.current(name))}
        return current | set(needs.used)
