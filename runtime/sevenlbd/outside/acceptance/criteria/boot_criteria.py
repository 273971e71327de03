"""Starts: how long they take, and what Windows or Linux says of its devices, drivers and errors."""

from __future__ import annotations

from statistics import median

from . import listed
from .criterion import Criterion, Judgement, cannot_tell, fail, ok
from .evidence import Evidence

_MILESTONES = ("dhcp", "agent", "ready-line", "password", "rdp")


def _starts(evidence: Evidence) -> Judgement:
    failed = [record.failure for record in evidence.cold if record.failure]
    if failed or not evidence.cold:
        return fail("a cold start does not lead to a desktop", failed[0] if failed else "none was tried", "none fails")
    seconds = [record.ready_after or 0.0 for record in evidence.cold]
    value = f"{median(seconds):.1f} s (median of {len(seconds)}, longest {max(seconds):.1f} s)"
    return ok("cold starts lead to a desktop", value)


def _milestones(evidence: Evidence) -> Judgement:
    starts = [record.state.milestones for record in evidence.cold if record.state and not record.failure]
    reached = {name: [start[name] for start in starts if name in start] for name in _MILESTONES}
    told = [f"{name} {median(seconds):.1f} s" for name, seconds in reached.items() if seconds]
    if evidence.first_cold().failure or not told:
        return cannot_tell(evidence.first_cold().failure or "no milestone came")
    return ok("how far the guest came when", ", ".join(told) + f" (median of {len(starts)})")


def _devices(evidence: Evidence) -> Judgement:
    wrong, right = "a device does not work", "every device has a driver that works"
    return listed.nothing(evidence, "machine", "device", wrong=wrong, right=right)


def _drivers(evidence: Evidence) -> Judgement:
    facts = evidence.first_cold().facts_of("machine")
    found = facts.all("driver")
    if not found:
        return cannot_tell(facts.failure or "the guest does not say which drivers it has")
    return ok("the drivers of the machine's devices", "; ".join(found)[:400])


def _errors(evidence: Evidence) -> Judgement:
    wrong, right = "the system's log has critical events of this start", "nothing critical in the system's log"
    return listed.nothing(evidence, "machine", "critical", wrong=wrong, right=right)


def _services(evidence: Evidence) -> Judgement:
    wrong, right = "a service that starts by itself does not run", "every service that starts by itself runs"
    return listed.nothing(evidence, "machine", "service", wrong=wrong, right=right)


CRITERIA = (
    Criterion("boot.starts", "every cold start leads to a desktop", _starts),
    Criterion("boot.milestones", "how long each part of a start takes", _milestones),
    Criterion("boot.devices", "no device without a working driver", _devices),
    Criterion("boot.drivers", "which drivers are in use", _drivers),
    Criterion("boot.errors", "no critical events", _errors),
    Criterion("boot.services", "what starts by itself runs", _services),
)
