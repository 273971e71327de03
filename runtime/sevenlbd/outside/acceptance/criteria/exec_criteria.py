"""A command as a job, as `7lbd exec` runs it."""

from __future__ import annotations

from .criterion import Criterion, Judgement, cannot_tell, fail, ok
from .evidence import Evidence

FOUND, ON_DESKTOP = "exec", "exec-desktop"
"""The names under which a session's record has what came of it: why it failed, or nothing."""


def _runs(evidence: Evidence) -> Judgement:
    if not evidence.description.exec_hook:
        return cannot_tell("the image has no exec_hook, so it runs no commands")
    found = evidence.first_cold().more.get(FOUND)
    if not isinstance(found, str):
        return cannot_tell(evidence.first_cold().failure or "no command was run")
    if found:
        return fail("a command does not run as a job", found, "its output, its code, its file")
    return ok("a command runs as a job: its output, its exit code and its file come back")


def _has_desktop(evidence: Evidence) -> Judgement:
    if not evidence.description.exec_desktop:
        return cannot_tell("the image gives commands no visible desktop (exec_desktop)")
    found = evidence.first_cold().more.get(ON_DESKTOP)
    if not isinstance(found, str):
        return cannot_tell(evidence.first_cold().failure or "no command was run")
    if found:
        return fail("a command has no visible desktop", found, "one where the account's shell is")
    return ok("a command that asks for it has the account's visible desktop")


CRITERIA = (
    Criterion("exec.runs", "a command runs as a job", _runs, quick=False),
    Criterion("exec.desktop", "a command has a visible desktop", _has_desktop, quick=False),
)
