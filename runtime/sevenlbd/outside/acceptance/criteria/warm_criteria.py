"""Warm starts: thawed, with an address, idle, and each with chance of its own."""

from __future__ import annotations

from statistics import median

from .criterion import Criterion, Judgement, cannot_tell, fail, ok
from .evidence import Evidence

_SHARE_OF_COLD = 1 / 3  # a guess: a warm state that saves less is not worth its disk
_MOST_IDLE = 0.5  # of one CPU; a desktop that nobody uses takes a tenth of that
_LEAST_LEASE = 3600.0  # seconds; the least that dnsmasq's own leases have left


def _thaw(evidence: Evidence) -> Judgement:
    if evidence.no_warm:
        return cannot_tell(evidence.no_warm)
    failed = [record.failure for record in evidence.warm if record.failure]
    if failed:
        return fail("a warm start does not lead to a desktop", failed[0], "none fails")
    thawed = [record for record in evidence.warm if record.state and "thawed" in record.state.milestones]
    if len(thawed) < len(evidence.warm):
        warnings = [text for record in evidence.warm if record.state for text in record.state.warnings]
        return fail("a session booted though the image has a warm state", "; ".join(warnings)[:400], "thawed")
    seconds = median(record.ready_after or 0.0 for record in thawed)
    cold = median([record.ready_after for record in evidence.cold if record.ready_after] or [0.0])
    value = f"{seconds:.1f} s" + (f", a cold one {cold:.1f} s" if cold else "")
    if cold and seconds > cold * _SHARE_OF_COLD:
        return fail("a warm start is hardly faster than a cold one", value, "a third of a cold one")
    return ok("warm starts lead to a desktop", value, "a third of a cold one")


def _lease(evidence: Evidence) -> Judgement:
    records = [record for record in evidence.warm if not record.failure]
    seconds = [record.facts_of("chance").number("lease") for record in records]
    known = [one for one in seconds if one is not None]
    if not known and any(record.facts_of("chance").one("lease.end") == "never" for record in records):
        return ok("the address of a warm session is valid without an end", "no end")
    if not known:
        return cannot_tell(evidence.no_warm or "the guest does not say how long its address is valid")
    value, limit = f"{min(known):.0f} s", f"{_LEAST_LEASE:.0f} s"
    return (fail if min(known) < _LEAST_LEASE else ok)("how long the address of a warm session is valid", value, limit)


def _idle(evidence: Evidence) -> Judgement:
    shares = [record.idle_cpu for record in evidence.warm if record.idle_cpu is not None]
    if not shares:
        return cannot_tell(evidence.no_warm or "the machine's CPU use could not be seen")
    value, limit = f"{max(shares):.2f} CPUs", f"{_MOST_IDLE} CPUs"
    if max(shares) > _MOST_IDLE and not evidence.node.kvm:
        return cannot_tell(f"{value} are used, which says little where the CPU is emulated")
    return (fail if max(shares) > _MOST_IDLE else ok)("what a warm desktop uses while nobody uses it", value, limit)


def _chance(evidence: Evidence) -> Judgement:
    drawn = [record.facts_of("chance").one("random") for record in evidence.warm if not record.failure]
    known = [one for one in drawn if one]
    if len(known) < 2:
        return cannot_tell(evidence.no_warm or "the guest does not say what it drew")
    if len(set(known)) < len(known):
        return fail("two warm sessions draw the same random numbers: their keys will be the same", "equal", "different")
    return ok("warm sessions draw different random numbers", f"{len(known)} drawn", "different")


CRITERIA = (
    Criterion("warm.thaw", "sessions go on from the warm state", _thaw),
    Criterion("warm.lease", "the address stays valid", _lease),
    Criterion("warm.idle", "no CPU is used for nothing", _idle),
    Criterion("warm.random", "different random numbers", _chance),
)
