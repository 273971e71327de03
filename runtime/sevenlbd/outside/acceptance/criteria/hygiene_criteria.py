"""What an image must not hold: everybody who gets a session gets it."""

from __future__ import annotations

from . import listed
from .criterion import Criterion, Judgement
from .evidence import Evidence


def _answers(evidence: Evidence) -> Judgement:
    wrong = "answers of an unattended installation are left in the image: they may hold passwords"
    return listed.nothing(
        evidence, "hygiene", "answer_file", wrong=wrong, right="no answers of an installation are left"
    )


def _passwords(evidence: Evidence) -> Judgement:
    wrong = "a password, or a way to log in with one, is stored in the image"
    return listed.nothing(evidence, "hygiene", "password", wrong=wrong, right="no password is stored")


def _logs(evidence: Evidence) -> Judgement:
    wrong = "logs begin before this session: they tell of who made or used the image"
    return listed.nothing(evidence, "hygiene", "old_log", wrong=wrong, right="logs begin with the session")


CRITERIA = (
    Criterion("hygiene.answers", "no answer file", _answers),
    Criterion("hygiene.passwords", "no stored passwords", _passwords),
    Criterion("hygiene.logs", "logs start now", _logs),
)
