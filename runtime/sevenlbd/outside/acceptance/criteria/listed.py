"""What a guest lists and must not have: an empty list is well only where it was asked for."""

from __future__ import annotations

from .criterion import Judgement, cannot_tell, fail, ok
from .evidence import Evidence


def nothing(evidence: Evidence, script: str, name: str, *, wrong: str, right: str) -> Judgement:
    """`wrong` when the script's list of this name has anything, `right` when it is empty."""
    facts = evidence.first_cold().facts_of(script)
    if facts.one(f"{name}.asked") is None:
        return cannot_tell(facts.failure or facts.one(f"{name}.error") or "the guest does not say")
    found = facts.all(name)
    return fail(wrong, "; ".join(found)[:400], "none") if found else ok(right, "none", "none")
