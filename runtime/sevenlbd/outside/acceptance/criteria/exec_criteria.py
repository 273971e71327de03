"""A command as a job, as `7lbd exec` runs it."""

from __future__ import annotations

from .criterion import Criterion, Judgement, cannot_tell, fail, ok
from .evidence import Evidence

FOUND = "exec"
"""The name under which a session's record has what came of it: why it failed, or nothing."""


def _runs(evidence: Evidence) -> Judgement:
    if not evidence.description.exec_hook:
        return cannot_tell("the image has no exec_hook, so it runs no commands")
    found = evidence.first_cold().more.get(FOUND)
    if not isinstance(found, str):
        return cannot_tell(evidence.first_cold().failure or "no command was run")
    if found:
        return fail("a command does not run as a job", found, "its output, its code, its file")
    return ok("a command runs as a job: its output, its exit code and its file come back")


CRITERIA = (Criterion("exec.runs", "a command runs as a job", _runs, quick=False),)
