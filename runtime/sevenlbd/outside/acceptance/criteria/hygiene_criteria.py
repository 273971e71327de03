"""What an image must not hold: everybody who gets a session gets it."""

from __future__ import annotations

from .criterion import Criterion, Judgement, cannot_tell, fail, ok
from .evidence import Evidence


def _none(evidence: Evidence, name: str, *, wrong: str, right: str) -> Judgement:
    facts = evidence.first_cold().facts_of("hygiene")
    if facts.one(f"{name}.asked") is None:
        return cannot_tell(facts.failure or facts.one(f"{name}.error") or "the guest does not say")
    found = facts.all(name)
    return fail(wrong, "; ".join(found)[:400], "none") if found else ok(right, "none", "none")


def _answers(evidence: Evidence) -> Judgement:
    wrong = "answers of an unattended installation are left in the image: they may hold passwords"
    return _none(evidence, "answer_file", wrong=wrong, right="no answers of an installation are left")


def _passwords(evidence: Evidence) -> Judgement:
    wrong = "a password, or a way to log in with one, is stored in the image"
    return _none(evidence, "password", wrong=wrong, right="no password is stored")


def _logs(evidence: Evidence) -> Judgement:
    wrong = "logs begin before this session: they tell of who made or used the image"
    return _none(evidence, "old_log", wrong=wrong, right="logs begin with the session")


CRITERIA = (
    Criterion("hygiene.answers", "no answer file", _answers),
    Criterion("hygiene.passwords", "no stored passwords", _passwords),
    Criterion("hygiene.logs", "logs start now", _logs),
)
