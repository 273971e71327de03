"""Slurm's commands as we call them, and what they answer: sbatch(1), squeue(1), scancel(1).

Written for 22.05, whose squeue has no stable JSON: fields are asked for one by one. Answers are for people, too,
so what Slurm says of an error is passed on as it is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from ...base.errors import ExitCode, Refusal
from ...base.process import Done
from ..node.node_programs import Missing, NodePrograms
from .scheduler import Job, JobEnd, JobSession

_FIELDS = ("%A", "%T", "%N", "%S", "%Z", "%r", "%F_%K", "%j")
_MARK = "\x1f"


class Slurm:
    """A Scheduler."""

    name = "slurm"
    knows_all = True

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
        rows = (line.split(_MARK, len(_FIELDS) - 1) for line in done.printed.split("\n"))
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

    def end(self, session: JobSession, *, now: bool) -> bool:
        """By a signal to the step or the batch script: a shell in between would die of it, and the session with it."""
        job, step = session.job, session.step
        if now:
            self.cancel(f"{job}.{step}" if step else job)
        elif step:
            self.cancel(f"{job}.{step}", "--signal=INT")
        elif session.leads:
            self.cancel(job, "--batch", "--signal=INT")
        return bool(now or step or session.leads)

    def reaches(self, session: JobSession) -> bool:
        """As a step of the job, so on one node that is named."""
        return bool(session.nodes) and not set(session.nodes) & set("[,") and self._programs.has("srun")

    def on_node(self, session: JobSession, call: Sequence[str], seconds: float) -> Done:
        """As a step of the job (srun(1), --overlap)."""
        step = [
            f"--jobid={session.job}",
            "--overlap",
            "--nodes=1",
            "--ntasks=1",
            f"--nodelist={session.nodes}",
            "--quiet",
        ]
        return self._programs.run("srun", *step, *call, seconds=seconds)

    def way_there(self, session: JobSession, call: str) -> str:
        return f"srun --jobid={session.job} --overlap {call}"

    def own_words(self, line: str) -> bool:
        return line.startswith(("srun: ", "slurmstepd"))

    def why_ended(self, job: str) -> JobEnd:
        """What scontrol(1) still knows of a job."""
        look = f"scontrol show job {job}"
        try:
            done = self._programs.run("scontrol", "--oneliner", "show", "job", job)
        except Missing:
            return JobEnd(look=look)
        known = dict(re.findall(r"(\S+?)=(.*?)(?= \S+?=|\s*$)", done.printed)) if done.code == 0 else {}
        return JobEnd(known.get("JobState", ""), known.get("ExitCode", ""), known.get("StdOut", ""), look)


def _job(*fields: str) -> Job:
    job, state, nodes, start, folder, reason, array, name = fields
    return Job(job, state, nodes, start, folder, reason, name, array)


def _first(text: str) -> str:
    """Slurm's first word on what went wrong: `sbatch: error: X` becomes X."""
    lines = [line for line in text.strip().splitlines() if line.strip()]
    wrong = [line for line in lines if "error" in line] or lines
    return re.sub(r"^\w+: (error: |fatal: )?", "", wrong[0]) if wrong else "it says nothing"
