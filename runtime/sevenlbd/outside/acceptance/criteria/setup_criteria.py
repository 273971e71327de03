"""Windows' installation: whether it came to its end, and whether the scripts that prepare an image have met trouble."""

from __future__ import annotations

from . import listed
from .criterion import Criterion, Judgement, cannot_tell, fail, ok
from .evidence import Evidence, GuestFacts

# Windows' own word for an installation that is over; others name the pass that is still to come.
_COMPLETE = "IMAGE_STATE_COMPLETE"


def _setup(evidence: Evidence) -> GuestFacts:
    return evidence.first_cold().facts_of("setup")


def _complete(evidence: Evidence) -> Judgement:
    facts = _setup(evidence)
    state, running = facts.one("setup.state"), facts.one("setup.running")
    if not state:
        return cannot_tell(facts.failure or "the guest does not say how far its installation came")
    if state != _COMPLETE or running not in (None, "", "0"):
        return fail("Windows' installation has not come to its end", state, _COMPLETE)
    return ok("Windows' installation has come to its end", state, _COMPLETE)


def _restart(evidence: Evidence) -> Judgement:
    wrong = "Windows waits for a restart: what was installed or updated is not whole, in every session"
    return listed.nothing(evidence, "setup", "restart", wrong=wrong, right="nothing waits for a restart")


def _scripts(evidence: Evidence) -> Judgement:
    wrong = "the scripts that prepare image and session have met errors"
    return listed.nothing(
        evidence, "setup", "trouble", wrong=wrong, right="the scripts that prepare image and session met no error"
    )


CRITERIA = (
    Criterion("setup.complete", "the installation is over", _complete, ("windows",)),
    Criterion("setup.restart", "nothing waits for a restart", _restart, ("windows",)),
    Criterion("setup.scripts", "our scripts met no error", _scripts, ("windows",)),
)
