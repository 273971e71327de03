"""A job in a queue, and what a scheduler is to everybody else here: a third one is a module like `slurm`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from ...base.process import Done

WAITING = {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD"} | {
    "IDLE",
    "HELD",
}
RUNNING = {"RUNNING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING"}
"""Words that are Slurm's; another scheduler's module says its jobs' states in them, or adds a word."""


@dataclass(frozen=True)
class Job:
    """One of the user's jobs in a queue. `start` is when it began, or is expected to, or `N/A`."""

    id: str
    state: str
    nodes: str
    start: str
    folder: str
    reason: str
    name: str
    array: str = ""
    """The number of an array and of its tasks in this row, `25_3` or `25_[4-7,9%2]`; `25_N/A` when it is no array."""
    unique: str = ""
    """What no other job is called, of another queue or another year; empty where `id` itself is that."""

    @property
    def waits(self) -> bool:
        """Whether it has not begun."""
        return self.state in WAITING

    @property
    def runs(self) -> bool:
        """Whether its processes are there."""
        return self.state in RUNNING

    def task(self, name: str) -> str:
        """What Slurm calls the one task that is meant by `name`, 25_3, if it is in here; or nothing."""
        array, _, number = name.partition("_")
        ours, _, listed = self.array.partition("_")
        if array != ours or not re.fullmatch(r"[0-9]{1,9}", number):
            return ""
        return name if any(int(number) in tasks for tasks in _tasks(listed)) else ""

    def is_meant_by(self, name: str) -> bool:
        """Whether that is the job's number, the id that its session will have, or a task of the array."""
        names = {self.id, re.sub("[^a-z0-9]+", "-", self.id.lower()), *([self.array] if self.array.isdigit() else [])}
        return name.removeprefix("job") in names or bool(self.task(name.removeprefix("job")))

    def __str__(self) -> str:
        """For people: `waits for its turn: Resources, expected to start 2026-11-23T14:00:00`."""
        if not self.waits:
            return f"{self.state.lower()} on {self.nodes or 'no node'}"
        why = "" if self.reason in ("", "None") else f": {self.reason}"
        when = "" if self.start in ("", "N/A") else f", expected to start at {self.start.replace('T', ' ')}"
        return f"{self.state.lower()}{why}{when}"


@dataclass(frozen=True)
class JobEnd:
    """What is still known of a job that has ended. Empty is what nobody knows."""

    state: str = ""
    code: str = ""
    output: str = ""
    look: str = ""
    """The command that shows more."""


@dataclass(frozen=True)
class JobSession:
    """A session in a job: what its scheduler needs to know to reach it."""

    job: str
    nodes: str
    step: str = ""
    leads: bool = False
    """Whether what the scheduler signals to the job's own program comes to the session."""
    unique: str = ""
    """What no other job is called: where queues count each for itself, a number alone may be another's."""


class Scheduler(Protocol):
    """Its commands as we call them. Whatever fails raises Refusal; a command that is not there, Missing."""

    @property
    def name(self) -> str:
        """What its table in the site's file is called, and what a session says of whose job it is in."""

    @property
    def knows_all(self) -> bool:
        """Whether a job that it does not tell of is no more, wherever it was handed in."""

    def is_here(self) -> bool:
        """Whether it can be asked."""

    def jobs(self, *ids: str) -> list[Job]:
        """The user's jobs that wait, run or are just ending, or those of these ids."""

    def submit(self, script: str, options: Sequence[str]) -> str:
        """Hand in what `render` makes for it; returns the job's id."""

    def cancel(self, job: str) -> None:
        """Take a job out of the queue."""

    def end(self, session: JobSession, *, now: bool) -> bool:
        """Tell a session's job to end. False when that would cut the session off: it must be told on its node."""

    def reaches(self, session: JobSession) -> bool:
        """Whether a command can be run where the session is."""

    def on_node(self, session: JobSession, call: Sequence[str], seconds: float) -> Done:
        """Run a command there, in the job's own allocation."""

    def way_there(self, session: JobSession, call: str) -> str:
        """The line that does it, for people to type."""

    def own_words(self, line: str) -> bool:
        """Whether a line that came back from there is the scheduler's and not the command's."""

    def why_ended(self, job: str) -> JobEnd:
        """What is known of a job that is no longer in the queue."""


def _tasks(listed: str) -> Iterator[range]:
    """Numbers of an array's tasks as squeue lists them: `3`, `[1-9:2,12%4]`."""
    for part in listed.strip("[]").partition("%")[0].split(","):
        if match := re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?(?::(\d{1,9}))?", part, re.ASCII):
            first, last, step = int(match[1]), int(match[2] or match[1]), int(match[3] or 1)
            yield range(first, last + 1, max(step, 1))
