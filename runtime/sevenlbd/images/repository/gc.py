"""Which versions of an image may go: a plan that can be printed before anything is removed."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass

from ...base.errors import Refusal
from . import history
from .versions import Repository

DAY = 86400.0  # seconds


@dataclass(frozen=True)
class GcVerdict:
    """What becomes of a version: kept for a reason, or without one removed."""

    name: str
    version: str
    why: str

    @property
    def kept(self) -> bool:
        """Whether it stays."""
        return bool(self.why)


def judge(repository: Repository, name: str, keep: int, grace: float) -> list[GcVerdict]:
    """A verdict on each version, oldest first. Raises Refusal when it cannot be seen which ones are in use.

    Kept are the current one, the last `keep`, those in use, and those that were current in the last `grace` seconds:
    sessions on nodes that see the repository read-only leave no lease, but they are not older than the longest job.
    """
    versions = repository.versions(name)
    current = ""
    with suppress(Refusal):
        current = repository.current(name)
    last = versions[-keep:] if keep else []
    given_up = history.given_up(history.events(repository.path / name))
    verdicts = []
    for version in versions:
        age = time.time() - given_up.get(version, 0.0)
        why = ""
        if version == current:
            why = "it is current"
        elif version in last:
            why = f"it is one of the last {keep}" if keep > 1 else "it is the last one"
        elif used := repository.users(name, version):
            why = f"in use: {used[0]}" + (f" and {len(used) - 1} more" if len(used) > 1 else "")
        elif age < grace:
            why = f"it was current {_ago(age)}, and sessions that could leave no lease may still use it (--grace)"
        verdicts.append(GcVerdict(name, version, why))
    return verdicts


def _ago(seconds: float) -> str:
    if seconds < 2 * 3600:
        return f"until {max(seconds, 0) / 60:.0f} minutes ago"
    return f"until {seconds / 3600:.0f} hours ago" if seconds < 2 * DAY else f"until {seconds / DAY:.0f} days ago"
