"""Slurm's commands as we call them, and what they answer: sbatch(1), squeue(1), scancel(1).

Written for 22.05, whose squeue has no stable JSON: fields are asked for one by one. Answers are for people, too,
so what Slurm says of an error is passed on as it is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ...base.errors import ExitCode, Refusal
from ..node.node_programs import Missing, NodePrograms

_FIELDS = ("%A", "%T", "%N", "%S", "%Z", "%r", "%F_%K", "%j")
_MARK = "\x1f"
WAITING = {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD"}
RUNNING = {"RUNNING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING"}


@dataclass(frozen=True)
class Job:
    """One of the user's jobs, as squeue shows it. `start` is when it began, or is expected to, or `N/A`."""

    id: str
    state: str
    nodes: str
    start: str
    folder: str
    reason: str
    name: str
    array: str = ""
    """The number of an array and of its tasks in this row, `25_3` or `25_[4-7,9%2]`; `25_N/A` when it is no array."""

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
        return name in (self.id, f"job{self.id}") or bool(self.task(name.removeprefix("job")))

    def __str__(self) -> str:
        """For people: `waits for its turn: Resources, expected to start 2026-11-23T14:00:00`."""
        if not self.waits:
            return f"{self.state.lower()} on {self.nodes or 'no node'}"
        why = "" if self.reason in ("", "None") else f": {self.reason}"
        when = "" if self.start in ("", "N/A") else f", expected to start at {self.start.replace('T', ' ')}"
        return f"{self.state.lower()}{why}{when}"


class Slurm:
    def __init__(self, programs: NodePrograms) -> None:
        self._programs = programs

    def is_here(self) -> bool:
        """Whether it can be asked."""
        return self._programs.has("squeue")

    def jobs(self, *ids: str) -> list[Job]:
        """The user's jobs that wait, run or are just ending, or those of these ids. Raises Missing and Refusal."""
        selection = [f"--jobs={','.join(ids)}"] if ids else [f"--user={os.getuid()}"]
        done = self._programs.run("squeue", "--noheader", f"--format={_MARK.join(_FIELDS)}", *selection)
        if done.code and "Invalid job id" in done.said:
            return []  # what it says of a single job that has ended some minutes ago
        if done.code:
            raise Refusal(ExitCode.NODE, f"squeue: {_first(done.said)}", hint="ask your site how its Slurm does: sinfo")
        rows = (line.split(_MARK, len(_FIELDS) - 1) for line in done.printed.splitlines())
        return [_job(*map(str.strip, row)) for row in rows if len(row) == len(_FIELDS)]

    def submit(self, script: str, options: Sequence[str]) -> str:
        """Hand in a job script; returns the job's id. Raises Refusal, and Missing when there is no Slurm."""
        done = self._programs.run("sbatch", "--parsable", *options, stdin=script)
        if done.code:
            what = f"sbatch does not take the job: {_first(done.said)}"
            raise Refusal(ExitCode.USAGE, what, hint="7lbd render slurm shows the job; sinfo shows what there is")
        # sbatch(1): the number, and after a semicolon the cluster's name when there are several.
        match = re.fullmatch(r"(\d+)(?:;.*)?", done.printed.strip().splitlines()[-1] if done.printed.strip() else "")
        if not match:
            raise Refusal(
                ExitCode.NODE, f"sbatch printed no job's number: {_first(done.printed)}", hint="see: squeue --me"
            )
        return match[1]

    def cancel(self, job: str, *options: str) -> None:
        """End a job, or signal it. Raises Refusal, and Missing when there is no Slurm."""
        done = self._programs.run("scancel", *options, job)
        if done.code or done.said:
            what = f"scancel {' '.join((*options, job))}: {_first(done.said) or f'ended with {done.code}'}"
            raise Refusal(ExitCode.NO_SESSION, what, hint="7lbd status")

    def why_ended(self, job: str) -> dict[str, str]:
        """What scontrol(1) still knows of a job: JobState, ExitCode, StdOut ...; nothing when it has forgotten it."""
        try:
            done = self._programs.run("scontrol", "--oneliner", "show", "job", job)
        except Missing:
            return {}
        return dict(re.findall(r"(\S+?)=(.*?)(?= \S+?=|\s*$)", done.printed)) if done.code == 0 else {}


def _job(*fields: str) -> Job:
    job, state, nodes, start, folder, reason, array, name = fields
    return Job(job, state, nodes, start, folder, reason, name, array)


def _tasks(listed: str) -> Iterator[range]:
    """Numbers of an array's tasks as squeue lists them: `3`, `[1-9:2,12%4]`."""
    for part in listed.strip("[]").partition("%")[0].split(","):
        if match := re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?(?::(\d{1,9}))?", part, re.ASCII):
            first, last, step = int(match[1]), int(match[2] or match[1]), int(match[3] or 1)
            yield range(first, last + 1, max(step, 1))


def _first(text: str) -> str:
    """Slurm's first word on what went wrong: `sbatch: error: X` becomes X."""
    lines = [line for line in text.strip().splitlines() if line.strip()]
    wrong = [line for line in lines if "error" in line] or lines
    return re.sub(r"^\w+: (error: |fatal: )?", "", wrong[0]) if wrong else "it says nothing"
