"""HTCondor's commands as we call them, and what they answer: condor_submit(1), condor_q(1), condor_rm(1),
condor_history(1), condor_ssh_to_job(1). Written for 23; jobs are told as JSON. A job is `12.0`: cluster and process.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...base.errors import ExitCode, Refusal
from ...base.process import Done
from ..node.node_programs import NodePrograms
from .scheduler import Job, JobEnd, JobSession

# Attributes and JobStatus: HTCondor's manual, "Job ClassAd Attributes".
_ATTRIBUTES = (
    "ClusterId", "ProcId", "JobStatus", "RemoteHost", "Iwd", "HoldReason", "JobBatchName", "TotalSubmitProcs",
    "GlobalJobId",
)  # fmt: skip
_END = ("JobStatus", "ExitCode", "ExitSignal", "Out", "Iwd", "HoldReason", "RemoveReason")
_STATES = {
    1: "IDLE", 2: "RUNNING", 3: "REMOVED", 4: "COMPLETED", 5: "HELD", 6: "STAGE_OUT", 7: "SUSPENDED",
}  # fmt: skip
_EVALUATE_SECONDS = 5.0  # a guess; it asks nobody, and a desktop waits for it
# What condor_ssh_to_job, its ssh and its sshd say beside the command's own words.
_NOISE = ("Welcome to ", "Warning: Permanently added", "Connection to ", "** WARNING", "Your condor job is running")


def evaluated(programs: NodePrograms, file: str, name: str) -> float | None:
    """A number that the ad in a file has as an expression; None when HTCondor cannot be asked, or makes none of it.

    condor_status(1) evaluates an ad from a file by itself, without any pool.
    """
    try:
        done = programs.run("condor_status", "-ads", file, "-autoformat", name, seconds=_EVALUATE_SECONDS)
        found = float(done.printed)
    except (Refusal, ValueError):
        return None
    return found if 0 < found < 1 << 60 else None


class Condor:
    """A Scheduler."""

    name = "condor"
    knows_all = False  # condor_q asks one schedd of several, and each counts its own

    def __init__(self, programs: NodePrograms) -> None:
        self._programs = programs

    def is_here(self) -> bool:
        """Whether it can be asked."""
        return self._programs.has("condor_q")

    def jobs(self, *ids: str) -> list[Job]:
        """The user's jobs in the queue of this machine, or those of these ids. Raises Missing and Refusal."""
        return [_job(ad) for ad in self._ads("condor_q", ids, _ATTRIBUTES)]

    def submit(self, script: str, options: Sequence[str]) -> str:
        """Hand in a submit description; returns the job's id. Raises Refusal, and Missing when there is no HTCondor."""
        done = self._programs.run("condor_submit", "-terse", *options, "-", stdin=script)
        words = done.printed.split()
        if done.code or not words:
            what = f"condor_submit does not take the job: {_wrong(done)}"
            hint = "7lbd render condor shows the job; condor_status shows what there is"
            raise Refusal(ExitCode.USAGE, what, hint=hint)
        return words[0]

    def cancel(self, job: str) -> None:
        """Take a job out of the queue; one that runs is told so, and has its grace to end."""
        self._remove(job)

    def _remove(self, job: str, *queue: str) -> None:
        done = self._programs.run("condor_rm", *queue, job)
        if done.code:
            raise Refusal(ExitCode.NO_SESSION, f"condor_rm {job}: {_wrong(done)}", hint="7lbd status")

    def end(self, session: JobSession, *, now: bool) -> bool:
        """On its node, where it can be told that it is its user's end: condor_rm sends what an eviction does.

        Without condor_ssh_to_job that must do.
        """
        if self.reaches(session):
            return False
        self._check(session)
        self._remove(session.job, *_queue(session))
        return True

    def reaches(self, session: JobSession) -> bool:
        return self._programs.has("condor_ssh_to_job")

    def on_node(self, session: JobSession, call: Sequence[str], seconds: float) -> Done:
        """By condor_ssh_to_job: a shell there reads the words, so they go as one."""
        self._check(session)
        words = (*_queue(session), session.job, shlex.join(call))
        return self._programs.run("condor_ssh_to_job", *words, seconds=seconds)

    def way_there(self, session: JobSession, call: str) -> str:
        return shlex.join(["condor_ssh_to_job", *_queue(session), session.job, call])

    def own_words(self, line: str) -> bool:
        return line.startswith(_NOISE)

    def why_ended(self, job: str) -> JobEnd:
        """What the queue, or else the history, has of a job."""
        look = f"condor_q -hold {job}; condor_history {job}"
        try:
            ads = self._ads("condor_q", (job,), _END) or self._ads("condor_history", ("-limit", "1", job), _END)
        except Refusal:
            return JobEnd(look=look)
        if not ads:
            return JobEnd(look=look)
        ad = ads[0]
        state = _STATES.get(_number(ad, "JobStatus"), "")
        if why := _text(ad, "HoldReason") or _text(ad, "RemoveReason"):
            state = f"{state}: {why}"
        code = str(_number(ad, "ExitCode")) if "ExitCode" in ad else ""
        signal = f"signal {_number(ad, 'ExitSignal')}" if "ExitSignal" in ad else ""
        out = _text(ad, "Out")
        return JobEnd(state, code or signal, str(Path(_text(ad, "Iwd"), out)) if out else "", look)

    def _check(self, session: JobSession) -> None:
        """Each queue counts for itself, and one that is made anew begins at 1: the number alone may be another's.

        Raises Refusal when the queue that the session's job was handed in to has not that job.
        """
        if not session.unique:  # it was begun by an older version
            return
        found = self._ads("condor_q", (*_queue(session), session.job), ("GlobalJobId",))
        if not any(_text(ad, "GlobalJobId") == session.unique for ad in found):
            what = f"job {session.unique} is in its queue no more: {session.job} would be another job by now"
            raise Refusal(ExitCode.NO_SESSION, what, hint="7lbd status")

    def _ads(self, command: str, which: Sequence[str], attributes: Iterable[str]) -> list[Mapping[str, Any]]:
        """Jobs as the queue or the history has them. Raises Missing and Refusal."""
        done = self._programs.run(command, *which, "-json", "-attributes", ",".join(attributes))
        if done.code:
            hint = "ask your site how its HTCondor does: condor_status -schedd"
            raise Refusal(ExitCode.NODE, f"{command}: {_wrong(done)}", hint=hint)
        try:
            ads = json.loads(done.printed or "[]")
        except ValueError:
            hint = f"ask it yourself: {command}"
            raise Refusal(ExitCode.NODE, f"{command} has answered what is no JSON", hint=hint) from None
        return [ad for ad in ads if isinstance(ad, dict)] if isinstance(ads, list) else []


def _job(ad: Mapping[str, Any]) -> Job:
    cluster, process = _number(ad, "ClusterId"), _number(ad, "ProcId")
    host = _text(ad, "RemoteHost")
    return Job(
        id=f"{cluster}.{process}",
        state=_STATES.get(_number(ad, "JobStatus"), "UNKNOWN"),
        nodes=host.rpartition("@")[2],
        start="N/A",
        folder=_text(ad, "Iwd"),
        reason=_text(ad, "HoldReason"),
        name=_text(ad, "JobBatchName"),
        array=str(cluster) if _number(ad, "TotalSubmitProcs") == 1 else "",
        unique=_text(ad, "GlobalJobId"),
    )


def _queue(session: JobSession) -> tuple[str, ...]:
    """Options that name the queue, as the job's unique name begins with it: SCHEDD#12.0#TIME.

    A name that would be read as an option, or is none, is left out, and the check finds no such job here.
    """
    name = session.unique.partition("#")[0]
    return ("-name", name) if name and not name.startswith("-") else ()


def _number(ad: Mapping[str, Any], name: str) -> int:
    value = ad.get(name)
    return value if isinstance(value, int) else 0


def _text(ad: Mapping[str, Any], name: str) -> str:
    value = ad.get(name)
    return value if isinstance(value, str) else ""


def _wrong(done: Done) -> str:
    """HTCondor's first word on what went wrong: `ERROR: X` becomes X."""
    lines = [line.strip() for line in (done.said or done.printed).splitlines() if line.strip()]
    wrong = [line for line in lines if "ERROR" in line.upper()] or lines
    return wrong[0].removeprefix("ERROR:").strip() if wrong else "it says nothing"
