"""Follows a job from the queue to a ready desktop, by what the scheduler and the register say. Changes nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ...base.errors import ExitCode, Refusal, visible
from ...wire.state import FINAL, Phase, SessionState
from ..node.node_programs import NODE_ROOT
from ..presence import records
from ..presence.records import PresenceRecord
from ..schedulers.scheduler import Job, Scheduler

_QUEUE_SECONDS = (2.0, 15.0)  # at first, and at last; in between a tenth of what was waited already
_DEAF_SECONDS = 120.0  # as long as Slurm's second controller waits for the first (slurm.conf(5), SlurmctldTimeout)
_REGISTER_SECONDS = 0.5  # a look into a folder, for somebody who waits
# After its job has begun a session leaves a record within a second; a file server may show it late.
_SILENCE_SECONDS = 90.0
_TAIL_LINES = 15  # with the refusal they fit on a screen


@dataclass(frozen=True)
class JobOutcome:
    """How following ended: `record` is where the ready session left its key, None when nobody knows."""

    state: SessionState | None
    record: Path | None


class JobWatcher(Protocol):
    """What is told on the way."""

    def waits(self, job: Job) -> None:
        """The job has not begun."""

    def runs(self, job: Job) -> None:
        """It has."""

    def session(self, state: SessionState) -> None:
        """Word of the session, new or the same."""


def follow(scheduler: Scheduler, where: Path | None, job: str, watcher: JobWatcher) -> JobOutcome:
    """Wait until the desktop of a job is ready. Raises Refusal when the job ends without it."""
    queue = _Queue(scheduler, job, watcher)
    started = over = 0.0  # when the session began that we have seen; the one of an earlier life of a requeued job
    while True:
        queue.ask()
        if not queue.began:
            over = started
        record = _record(where, job, queue.unique, over) if queue.began else None
        if record:
            started = record.state.started
            watcher.session(record.state)
            if record.state.phase is Phase.READY:
                return JobOutcome(record.state, record.folder)
        elif queue.began and started == over and (where is None or time.monotonic() - queue.began > _SILENCE_SECONDS):
            return JobOutcome(None, None)
        time.sleep(_REGISTER_SECONDS)


class _Queue:
    """The scheduler's word on one job, asked for ever more seldom: many users may be waiting for their jobs."""

    def __init__(self, scheduler: Scheduler, job: str, watcher: JobWatcher) -> None:
        self._scheduler = scheduler
        self._job = job
        self._told = watcher
        self._since = self._heard = time.monotonic()
        self._next = 0.0
        self.began = 0.0
        """When the job began, by our own clock; 0 as long as it waits."""
        self.unique = ""
        """What no other job is called, if its scheduler's numbers are not that."""

    def ask(self) -> None:
        """Ask, when it is time. Raises Refusal when the job has ended, or nobody has answered for long."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + min(_QUEUE_SECONDS[1], max(_QUEUE_SECONDS[0], (now - self._since) / 10))
        try:
            job = next(iter(self._scheduler.jobs(self._job)), None)
        except Refusal:
            if now - self._heard > _DEAF_SECONDS:
                raise
            return  # a controller that is started anew: the job goes on
        self._heard = now
        self.unique = job.unique if job else ""
        if job is None or not (job.waits or job.runs):
            raise _ended(self._scheduler, self._job, job)
        if job.waits:
            self.began = 0.0
            self._told.waits(job)
        elif not self.began:
            self.began = self._since = now
            self._told.runs(job)


def _record(where: Path | None, job: str, unique: str, after: float) -> PresenceRecord | None:
    """The newest word of the job's session, of one that began later than `after`."""
    candidates = [record for record in records.records(where) if record.state.job == job and not record.stale]
    candidates = [record for record in candidates if record.state.unique_job in ("", unique)]
    candidates = [record for record in candidates if record.state.phase not in FINAL and record.state.started > after]
    return max(candidates, key=lambda record: record.state.started, default=None)


def _ended(scheduler: Scheduler, job: str, last: Job | None) -> Refusal:
    """A job without a desktop: what its scheduler says, and the end of what the job said."""
    known = scheduler.why_ended(job)
    state = known.state or (last.state if last else "gone")
    output, code = known.output, known.code or "?"
    said = tail(output)
    how = f"job {job} has ended without a desktop that was ready ({state.lower()}, exit code {code})"
    if not said:
        hint = f"its output: {output}" if output else known.look
        return Refusal(ExitCode.BROKE, how, hint=hint)
    return JobFailed(how, output, said)


class JobFailed(Refusal):
    """A job's own words, line by line, belong to the refusal."""

    def __init__(self, what: str, output: str, said: list[str]) -> None:
        super().__init__(ExitCode.BROKE, what, hint=f"all of its output: {output}")
        self._said = said

    def __str__(self) -> str:
        return "\n".join([self.what, *(f"  | {visible(line)}" for line in self._said), f"  {self.hint}"])


def tail(output: str) -> list[str]:
    """The last lines of a job's output, wherever this container shows it."""
    for path in (Path(output), Path(f"{NODE_ROOT}{output}")):
        try:
            with path.open("rb") as file:
                file.seek(max(path.stat().st_size - 8192, 0))
                lines = file.read().decode(errors="replace").splitlines()
            return [line for line in lines if line.strip()][-_TAIL_LINES:]
        except OSError:
            continue
    return []
