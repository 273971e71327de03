"""The RDP server's certificate: it belongs to one session, is the one that the session tells, and has time left."""

from __future__ import annotations

import time

from .criterion import Criterion, Judgement, cannot_tell, fail, ok
from .evidence import Evidence, SessionRecord

_EARLY = 48 * 3600.0  # seconds; Windows dates its own back by a day, and a guest's zone may not be set yet
_LEAST_LEFT = 14 * 86400.0  # seconds; the longest job of most sites
_MINUTE = 60.0  # in seconds


def _shown(records: list[SessionRecord]) -> list[SessionRecord]:
    return [record for record in records if record.certificate]


def _why_not(evidence: Evidence) -> str:
    record = evidence.first_cold()
    return record.failure or str(record.more.get("certificate") or "no session showed a certificate")


def _pin(evidence: Evidence) -> Judgement:
    told = 0
    for record in _shown([*evidence.cold, *evidence.warm]):
        assert record.certificate
        pin = record.state.certificate if record.state else ""
        if pin and pin != record.certificate.fingerprint:
            kind = "warm" if record.warm else "cold"
            return fail(f"a {kind} session tells another certificate than its desktop shows", "another", "the same")
        told += bool(pin)
    return (
        ok("sessions tell the certificate that their desktops show", f"{told} sessions")
        if told
        else cannot_tell(_why_not(evidence))
    )


def _own(evidence: Evidence) -> Judgement:
    prints = [record.certificate.fingerprint for record in evidence.cold if record.certificate]
    if len(prints) < 2:
        return cannot_tell(_why_not(evidence) if not prints else "only one cold session showed a certificate")
    if len(set(prints)) < len(prints):
        return fail("two cold sessions show the same certificate: its key is in the image", "shared", "one each")
    return ok("every cold session makes its own certificate", f"{len(prints)} sessions", "one each")


def _made(evidence: Evidence) -> Judgement:
    shown = _shown(evidence.cold)
    if not shown:
        return cannot_tell(_why_not(evidence))
    earliest = max(record.began - record.certificate.begins for record in shown if record.certificate)
    value = f"valid since {earliest / _MINUTE:.0f} min before its session" if earliest > 0 else "made in its session"
    if earliest > _EARLY:
        return fail("a cold session's certificate is older than the session", value, f"{_EARLY / 3600:.0f} h")
    return ok("certificates are made in their sessions", value, f"{_EARLY / 3600:.0f} h")


def _lasts(evidence: Evidence) -> Judgement:
    shown = _shown([*evidence.cold, *evidence.warm])
    if not shown:
        return cannot_tell(_why_not(evidence))
    left = min(record.certificate.ends for record in shown if record.certificate) - time.time()
    value, limit = f"{left / 86400:.0f} days", f"{_LEAST_LEFT / 86400:.0f} days"
    return (fail if left < _LEAST_LEFT else ok)("how long the shown certificates are valid", value, limit)


CRITERIA = (
    Criterion("certificate.pin", "sessions tell the one that is shown", _pin),
    Criterion("certificate.own", "no two cold sessions share one", _own),
    Criterion("certificate.made", "made in the session", _made),
    Criterion("certificate.lasts", "valid for longer than a job", _lasts),
)
