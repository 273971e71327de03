"""Windows' licence: activated, or for how long it goes on."""

from __future__ import annotations

from .criterion import Criterion, Judgement, cannot_tell, fail, ok
from .evidence import Evidence

_LICENSED = 1  # SoftwareLicensingProduct, LicenseStatus
_MINUTES_OF_DAY = 24 * 60  # GracePeriodRemaining is in minutes
_LEAST_DAYS = 10  # as sessions warn of it


def _state(evidence: Evidence) -> Judgement:
    facts = evidence.first_cold().facts_of("licence")
    status = facts.number("licence.status")
    if status is None:
        return cannot_tell(facts.failure or "the guest does not say how it is licensed")
    value = f"{facts.one('licence.name') or 'Windows'}, status {status:.0f}"
    if status == _LICENSED:
        return ok("Windows is licensed", value, "status 1")
    return fail("Windows is not activated: it says so on the desktop, and may restrict what it does", value, "status 1")


def _days(evidence: Evidence) -> Judgement:
    facts = evidence.first_cold().facts_of("licence")
    minutes = facts.number("licence.minutes")
    if minutes is None:
        return cannot_tell(facts.failure or "the guest does not say how long its licence lasts")
    if not minutes and facts.number("licence.status") != _LICENSED:
        return cannot_tell("Windows is not licensed, and names no time that is left: an evaluation may be over")
    if not minutes:
        return ok("the licence has no end", "no end")
    days = minutes / _MINUTES_OF_DAY
    value, limit = f"{days:.0f} days", f"{_LEAST_DAYS} days"
    if days < _LEAST_DAYS:
        return fail("the licence ends soon; an evaluation that has ended shuts down every hour", value, limit)
    return ok("how long the licence or the evaluation lasts", value, limit)


CRITERIA = (
    Criterion("licence.state", "Windows is activated", _state, ("windows",)),
    Criterion("licence.days", "and stays so for a while", _days, ("windows",)),
)
