"""The end of a session: by the agent alone, by the power button alone; and notices before it."""

from __future__ import annotations

from .criterion import Criterion, Judgement, cannot_tell, fail, ok
from .evidence import Evidence


def _by(evidence: Evidence, way: str, name: str) -> Judgement:
    tried = [record for record in evidence.cold if record.end_asked == way]
    if not tried:
        return cannot_tell(evidence.first_cold().failure or "no session came as far as its end")
    slow = [record for record in tried if record.end_seconds is None]
    if slow:
        return fail(f"the guest does not shut down when {name} alone asks it to", "it goes on", "within the stop grace")
    longest = max(record.end_seconds or 0.0 for record in tried)
    return ok(f"the guest shuts down when {name} alone asks it to", f"{longest:.1f} s", "within the stop grace")


def _agent(evidence: Evidence) -> Judgement:
    if "agent" not in evidence.description.channels:
        return cannot_tell("the image has no agent")
    return _by(evidence, "agent", "its agent")


def _button(evidence: Evidence) -> Judgement:
    return _by(evidence, "button", "the power button")


def _notice(evidence: Evidence) -> Judgement:
    said = evidence.first_cold().notice
    if evidence.first_cold().failure:
        return cannot_tell(evidence.first_cold().failure)
    if said is None:
        return fail("the image has no notice_hook: its users are not told when their session ends", "none", "a hook")
    if said:
        return fail("a notice cannot be shown", said, "shown")
    return ok("the image's program takes a notice; that it is seen, only an eye can tell", "it ended well")


CRITERIA = (
    Criterion("end.agent", "the agent alone ends it", _agent),
    Criterion("end.button", "the power button alone ends it", _button),
    Criterion("notice.shown", "users can be told", _notice),
)
