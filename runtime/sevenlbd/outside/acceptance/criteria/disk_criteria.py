"""The overlay: what a session takes of the node's disk, and whether room that the guest frees comes back."""

from __future__ import annotations

from collections.abc import Callable

from .criterion import Criterion, Judgement, cannot_tell, fail, ok
from .evidence import Evidence

_MB = 1e6  # bytes
_LEAST_BACK = 0.8  # of what was written; the rest is the file system's own, and a guess
_BOOT, _LOG_ON, _IDLE = 2000.0, 1000.0, 500.0  # MB; guesses: what a node has for each of its sessions


def _bytes(evidence: Evidence, name: str) -> int | None:
    found = evidence.first_cold().more.get(name)
    return found if isinstance(found, int) else None


def _why(evidence: Evidence) -> str:
    return evidence.first_cold().failure or "the overlay could not be seen"


def _growth(earlier: str, later: str, most: float) -> Callable[[Evidence], Judgement]:
    """Between two points of the course; from nothing where the earlier has no name."""

    def judge(evidence: Evidence) -> Judgement:
        before = _bytes(evidence, f"overlay.{earlier}") if earlier else 0
        after = _bytes(evidence, f"overlay.{later}")
        if before is None or after is None:
            return cannot_tell(_why(evidence))
        grown = (after - before) / _MB
        value, limit = f"{grown:.0f} MB", f"{most:.0f} MB"
        return (ok if grown <= most else fail)("what the overlay grows by", value, limit)

    return judge


def _trim(evidence: Evidence) -> Judgement:
    record = evidence.first_cold()
    before, full, after = (_bytes(evidence, f"trim.{name}") for name in ("before", "full", "after"))
    if before is None or full is None or after is None or record.facts_of("trim").one("trim.done") != "free":
        return cannot_tell(record.failure or record.facts_of("trim").failure or "the guest cannot trim")
    written, back = full - before, full - after
    value, limit = f"{back / _MB:.0f} of {written / _MB:.0f} MB", f"{_LEAST_BACK:.0%}"
    if written <= 0:
        return cannot_tell("what the guest wrote did not show in the overlay")
    if back < _LEAST_BACK * written:
        return fail("what the guest removes stays in the overlay: trim does not reach it", value, limit)
    return ok("what the guest removes and trims is given back", value, limit)


CRITERIA = (
    Criterion("disk.boot", "a start takes little room", _growth("", "boot", _BOOT)),
    Criterion("disk.log_on", "so do log-ons", _growth("boot", "log-on", _LOG_ON)),
    Criterion("disk.idle", "and an idle time", _growth("log-on", "idle", _IDLE)),
    Criterion("disk.trim", "what is removed is given back", _trim),
)
