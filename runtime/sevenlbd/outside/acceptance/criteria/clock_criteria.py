"""The time: after a cold start, a warm one, a restart of the guest, and under load."""

from __future__ import annotations

from collections.abc import Sequence

from .criterion import Criterion, Judgement, cannot_tell, fail, ok
from .evidence import Evidence, SessionRecord

_MOST_OFF = 2.0  # seconds; Kerberos allows five minutes, make(1) none: what nobody sees on a desktop
_MOST_DRIFT = 1.0  # seconds in ten minutes


def _offset(records: Sequence[SessionRecord], occasion: str, otherwise: str) -> Judgement:
    ready = [record for record in records if not record.failure]
    readings = [record.clocks[occasion] for record in ready if occasion in record.clocks]
    if not readings:
        return cannot_tell(otherwise)
    worst = max((reading.offset for reading in readings), key=abs)
    value, limit = f"{worst:+.1f} s", f"{_MOST_OFF:.0f} s"
    if abs(worst) > _MOST_OFF:
        return fail("the guest's clock is wrong", value, limit)
    return ok("the guest's clock is right", value, limit)


def _cold(evidence: Evidence) -> Judgement:
    why = evidence.first_cold().failure or evidence.first_cold().facts_of("chance").failure
    return _offset(evidence.cold, "start", why or "the guest does not say what time it is")


def _warm(evidence: Evidence) -> Judgement:
    return _offset(evidence.warm, "start", evidence.no_warm or "the guest does not say what time it is")


def _restart(evidence: Evidence) -> Judgement:
    return _offset(evidence.cold, "restart", "the guest did not come back from a restart, or does not say the time")


def _drift(evidence: Evidence) -> Judgement:
    clocks = evidence.first_cold().clocks
    if not {"drift-before", "drift-after"} <= clocks.keys():
        return cannot_tell("the guest does not say what time it is")
    drift = clocks["drift-after"].offset - clocks["drift-before"].offset
    value, limit = f"{drift:+.2f} s in 10 min", f"{_MOST_DRIFT:.0f} s in 10 min"
    return (fail if abs(drift) > _MOST_DRIFT else ok)("the guest's clock under load", value, limit)


CRITERIA = (
    Criterion("clock.cold", "right after a cold start", _cold),
    Criterion("clock.warm", "right after a warm start", _warm),
    Criterion("clock.restart", "right after the guest's own restart", _restart, quick=False),
    Criterion("clock.drift", "no drift under load", _drift, quick=False),
)
