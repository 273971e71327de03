"""A job's share of this node, as far as its scheduler tells it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ...folders import folder_lock, session_folders
from ...node.abilities import Limit

_MAX_SESSIONS = 1000  # a guess: a job has one, or a few
_LONGEST = 26  # characters of a session's 31 (session_folders), with room for a number


@dataclass(frozen=True)
class Allocation:
    """A job's share of this node. Memory in bytes, times in seconds since the epoch."""

    job: str
    """The scheduler's id of it."""
    array: str = ""
    """What people call the job beside that: when it is a task of an array, `25_3`; empty when they do not."""
    step: str = ""
    """The number of the job step; empty for the batch script, and for a shell of salloc's."""
    restarts: int = 0
    memory: Limit | None = None
    """What one session may use; None when the job has all of the node, or when nobody tells."""
    cpus: int = 0
    """CPUs for one session; 0 when nobody tells."""
    ends: float = 0.0
    """When the scheduler ends the job; 0 when it does not say."""
    vacate: float = 0.0
    """Seconds from the scheduler's wish that it ends to its being killed; 0 when nobody tells."""
    unclear: tuple[str, ...] = ()
    """What of it is told in words that only the scheduler understands, and it cannot be asked."""
    first: int = 1
    """The number of the session's name to begin with: tasks that start at once must not want the same."""
    batch: bool = False
    """Whether this is the job's batch script, which some of Slurm's signals go to alone."""
    elsewhere: str = ""
    """The job's nodes, when this process is not known to be on one of them: a shell of salloc's on a login node."""
    scheduler: str = "slurm"
    """Whose job it is."""
    image: str = ""
    """The image that the job itself names, in its ad; empty when it names none."""
    unique: str = ""
    """What no other job is called, of another queue or another year; empty where `job` itself is that."""

    def name(self, where: Path) -> str:
        """The session's id: `job123`, or `job123-2` when that one runs in `where` already."""
        usual = session_of(self.job)
        for number in range(self.first, self.first + _MAX_SESSIONS):
            name = usual if number == 1 else f"{usual}-{number}"
            if not folder_lock.is_alive(where / name):
                return name
        return session_folders.new_name()


def session_of(job: str) -> str:
    """The id of a job's session: of letters, digits and `-` only, so that 12.0 has `job12-0`."""
    return f"job{re.sub(r'[^a-z0-9]+', '-', job.lower()).strip('-')}"[:_LONGEST]


def number(environment: Mapping[str, str], name: str, default: int = 0) -> int:
    """A number that a scheduler has put there. What is garbage is as good as absent."""
    text = environment.get(name, "")
    return int(text) if re.fullmatch(r"[0-9]{1,12}", text) else default
