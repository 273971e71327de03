"""The user's sessions on other nodes: found by the register and the scheduler, reached by the scheduler.

What the register says is believed as long as somebody stands behind it: its heartbeat is fresh, and the scheduler, when
it can be asked, still has the job.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...base.errors import ExitCode, Refusal
from ...base.process import Done
from ...config.settings import Settings
from ...config.sources import Places
from ...wire.state import SessionState
from ..console import invocation
from ..folders import session_folders
from ..node.node_programs import NO_WAY, NodePrograms
from ..schedulers import known
from ..schedulers.scheduler import Job, JobSession, Scheduler
from ..site import appliance_call, site_tables
from . import records as register
from .records import PresenceRecord

_Queues = Mapping[str, list[Job] | None]
"""The jobs of each scheduler that is here; None for one that has not answered."""
_ON_NODE_SECONDS = 180.0  # longer than `stop` has patience there (commands/session_verbs.py), and a step needs to begin


@dataclass(frozen=True)
class Elsewhere:
    """A session that is not in this node's folders. `job` is what the scheduler says of its job, if it was asked."""

    state: SessionState
    record: Path
    job: Job | None = None

    @property
    def place(self) -> str:
        """Where it is, for people."""
        job = f", job {self.state.array or self.state.job}" if self.state.job else ""
        return f"on {self.state.host}{job}"


@dataclass(frozen=True)
class View:
    """All that is known of sessions elsewhere."""

    sessions: tuple[Elsewhere, ...]
    waiting: tuple[Job, ...]
    """Desktops' jobs that have not begun."""
    gone: tuple[PresenceRecord, ...]
    """Records that nobody stands behind any more."""
    trouble: str
    """Why the scheduler, which is here, could not be asked; or nothing."""


class Lookout:
    """What is needed to look, and to reach what was found."""

    def __init__(self, here: Places, chosen: Settings) -> None:
        self._here = here
        self._register = register.where(chosen.state_dir, here.environment)
        self._every = known.every(NodePrograms(here.environment))
        self._schedulers = tuple(one for one in self._every if one.is_here())

    def look(self, bases: Sequence[Path]) -> View:
        """Everything of this user's that is not alive in `bases`, this node's own folders of sessions."""
        records = [record for record in register.records(self._register) if not _is_in(bases, record.state)]
        jobs, trouble = self._jobs()
        whole = {one.name: jobs[one.name] for one in self._schedulers if one.knows_all}
        gone = [record for record in records if _is_gone(record, records, whole)]
        sessions = tuple(
            Elsewhere(record.state, record.folder, _job_of(record.state, jobs))
            for record in records
            if record not in gone
        )
        site = site_tables.read(self._here)
        waiting = tuple(
            job
            for name, found in jobs.items()
            for job in found or ()
            if job.waits and job.name.startswith(site.job_table(name).job_name)
        )
        return View(sessions, waiting, tuple(gone), trouble)

    def take_out(self, job: Job, called: str) -> str:
        """Take a job that waits out of its queue; returns what it is called there. Raises Refusal."""
        meant = job.task(called.removeprefix("job")) or job.id
        queues, _ = self._jobs()  # one that does not answer is no reason against the other
        for scheduler in self._schedulers:
            if any(one.id == job.id and one.waits for one in queues[scheduler.name] or ()):
                scheduler.cancel(meant)
                return meant
        raise Refusal(ExitCode.NO_SESSION, f"job {meant} does not wait any more", hint="7lbd status")

    def stop(self, session: Elsewhere, *, now: bool) -> None:
        """Tell a session to end. Raises Refusal."""
        words = ["--now"] if now else []
        scheduler = self._scheduler(session)
        if not scheduler:
            raise self._out_of_reach(session, "stop", *words)
        if not scheduler.end(_target(session), now=now):
            # The job's own program would die of it and take the session along, without an orderly end.
            done = self.on_its_node(session, "stop", *words)
            if done.code and session.record.exists():  # a script that ends with its session takes this call along
                raise self.said_there(done, session)

    def on_its_node(self, session: Elsewhere, verb: str, *words: str, seconds: float = _ON_NODE_SECONDS) -> Done:
        """Have a verb done where the session is, in its job's own allocation and time. Raises Refusal."""
        scheduler, target = self._scheduler(session), _target(session)
        if not scheduler or not scheduler.reaches(target):
            raise self._out_of_reach(session, verb, *words)
        table = site_tables.read(self._here).job_table(scheduler.name)
        # It has an environment of its own there: the folder of sessions may be another one.
        session_dir = f"--session-dir={Path(session.state.folder).parent}"
        call = appliance_call.call(table, self._here)
        return scheduler.on_node(target, [*call, verb, session.state.id, *words, session_dir], seconds)

    def said_there(self, done: Done, session: Elsewhere) -> Refusal:
        """What the session's own node refuses, in its words."""
        scheduler = self._scheduler(session)
        lines = [line for line in done.said.splitlines() if not (scheduler and scheduler.own_words(line))]
        what = lines[0].removeprefix("7lbd: ") if lines else done.said or f"a call there ended with {done.code}"
        return Refusal(
            ExitCode.NO_SESSION, f"{session.state.host}: {what}", hint="; ".join(line.strip() for line in lines[1:])
        )

    def _scheduler(self, session: Elsewhere) -> Scheduler | None:
        """The one whose job a session is in, if it can be asked from here."""
        if not session.state.job:
            return None
        return next((one for one in self._schedulers if one.name == _whose(session.state)), None)

    def sweep(self, bases: Sequence[Path]) -> list[Path]:
        """Remove the records that nobody stands behind; returns them."""
        gone = self.look(bases).gone
        for record in gone:
            register.remove(record)
        return [record.folder for record in gone]

    def _jobs(self) -> tuple[_Queues, str]:
        queues: dict[str, list[Job] | None] = {}
        trouble = ""
        for scheduler in self._schedulers:
            try:
                queues[scheduler.name] = scheduler.jobs()
            except Refusal as refusal:
                queues[scheduler.name], trouble = None, refusal.what
        return queues, trouble

    def _out_of_reach(self, session: Elsewhere, verb: str, *words: str) -> Refusal:
        call = " ".join([invocation.call(self._here.sif, verb, session.state), *map(shlex.quote, words)])
        what = f"session {session.state.id} runs {session.place}, and cannot be reached from here"
        if not session.state.job:
            return Refusal(ExitCode.NO_SESSION, what, hint=f"ssh {session.state.host} {shlex.quote(call)}")
        scheduler = next((one for one in self._every if one.name == _whose(session.state)), None)
        there = scheduler.way_there(_target(session), call) if scheduler else f"ssh {session.state.host} ..."
        hint = f"there: {there}; or, to do it from here: {NO_WAY}"
        return Refusal(ExitCode.NO_SESSION, what, hint=hint)


def choose(view: View, name: str) -> Elsewhere | None:
    """The session of this id, or in the job of this number; without a name the only one. Raises Refusal."""
    matches = [one for one in view.sessions if not name or name in names(one.state)]
    if len(matches) > 1:
        what = f"several sessions are running: {named(matches)}"
        raise Refusal(ExitCode.NO_SESSION, what, hint="name one of them")
    return matches[0] if matches else None


def names(state: SessionState) -> set[str]:
    """What a session may be called: its id, its job's number, and that of an array's task, as squeue shows it.

    Where two queues have given the same number, the node tells them apart: `job12-0@node7`.
    """
    jobs = {state.job, state.array} - {""}
    return {state.id, f"{state.id}@{state.host}", *jobs, *(f"job{job}" for job in jobs)}


def named(sessions: Iterable[Elsewhere]) -> str:
    """Sessions, for a person who must choose."""
    every = list(sessions)
    ids = [one.state.id for one in every]
    called = [one.state.id if ids.count(one.state.id) == 1 else f"{one.state.id}@{one.state.host}" for one in every]
    return ", ".join(f"{name} ({one.place})" for name, one in zip(called, every, strict=True))


def waiting(view: View, name: str) -> Job | None:
    """The job that waits and is meant by `name`: its number, or the id that its session will have."""
    return next((job for job in view.waiting if job.is_meant_by(name)), None)


def _is_in(bases: Iterable[Path], state: SessionState) -> bool:
    here = (session_folders.read_state(base / state.id) for base in bases)
    return any(known and (known.host, known.started) == (state.host, state.started) for known in here)


def _is_gone(record: PresenceRecord, others: Iterable[PresenceRecord], jobs: _Queues) -> bool:
    if record.stale:
        return True
    state = record.state
    if state.job and jobs.get(_whose(state)) is not None and _job_of(state, jobs) is None:
        return True
    # A job that was started anew, on another node: what its earlier life left is not its session.
    later = (other.state for other in others if other.state.job and _names(other.state) == _names(state))
    return any(other.id == state.id and other.started > state.started for other in later)


def _names(state: SessionState) -> tuple[str, str]:
    return state.job, state.unique_job


def _job_of(state: SessionState, jobs: _Queues) -> Job | None:
    found = jobs.get(_whose(state)) or ()
    same = (job for job in found if job.id == state.job and not job.waits)
    return next((job for job in same if not (job.unique and state.unique_job) or job.unique == state.unique_job), None)


def _whose(state: SessionState) -> str:
    return state.scheduler or "slurm"


def _target(session: Elsewhere) -> JobSession:
    state = session.state
    if session.job:  # the queue that was asked has this very job
        return JobSession(state.job, session.job.nodes, state.step, state.leads_job)
    return JobSession(state.job, "", state.step, state.leads_job, state.unique_job)
