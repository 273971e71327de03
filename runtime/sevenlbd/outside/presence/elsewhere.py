"""The user's sessions on other nodes: found by the register and the scheduler, reached by the scheduler.

What the register says is believed as long as somebody stands behind it: its heartbeat is fresh, and the scheduler, when
it can be asked, still has the job.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
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
from ..schedulers.slurm import Job, Slurm
from ..site import appliance_call, site_tables
from . import records as register
from .records import PresenceRecord

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
        self._programs = NodePrograms(here.environment)
        self.slurm = Slurm(self._programs)

    def look(self, bases: Sequence[Path]) -> View:
        """Everything of this user's that is not alive in `bases`, this node's own folders of sessions."""
        records = [record for record in register.records(self._register) if not _is_in(bases, record.state)]
        jobs, trouble = self._jobs()
        gone = [record for record in records if _is_gone(record, records, jobs)]
        sessions = tuple(
            Elsewhere(record.state, record.folder, _job_of(record.state, jobs))
            for record in records
            if record not in gone
        )
        name = site_tables.read(self._here).slurm.job_name
        waiting = tuple(job for job in jobs or () if job.waits and job.name.startswith(name))
        return View(sessions, waiting, tuple(gone), trouble)

    def stop(self, session: Elsewhere, *, now: bool) -> None:
        """Tell a session to end. Raises Refusal."""
        job, step = session.state.job, session.state.step
        if not job or not self.slurm.is_here():
            raise self._out_of_reach(session, "stop", *(["--now"] if now else []))
        if now:
            self.slurm.cancel(f"{job}.{step}" if step else job)
        elif step:
            self.slurm.cancel(f"{job}.{step}", "--signal=INT")
        elif session.state.leads_job:
            self.slurm.cancel(job, "--batch", "--signal=INT")
        else:
            # The batch shell would die of it and take the session along, without an orderly end.
            done = self.on_its_node(session, "stop")
            if done.code and session.record.exists():  # a script that ends with its session takes this step along
                raise said_there(done, session)

    def on_its_node(self, session: Elsewhere, verb: str, *words: str) -> Done:
        """Have a verb done where the session is, as a step of its job (srun(1), --overlap). Raises Refusal."""
        nodes = session.job.nodes if session.job else ""
        if not session.state.job or not nodes or set(nodes) & set("[,") or not self._programs.has("srun"):
            raise self._out_of_reach(session, verb, *words)
        step = [
            f"--jobid={session.state.job}",
            "--overlap",
            "--nodes=1",
            "--ntasks=1",
            f"--nodelist={nodes}",
            "--quiet",
        ]
        call = [*appliance_call.call(site_tables.read(self._here).slurm, self._here), verb, session.state.id, *words]
        # A step has an environment of its own: the folder of sessions may be another one there.
        session_dir = f"--session-dir={Path(session.state.folder).parent}"
        return self._programs.run("srun", *step, *call, session_dir, seconds=_ON_NODE_SECONDS)

    def sweep(self, bases: Sequence[Path]) -> list[Path]:
        """Remove the records that nobody stands behind; returns them."""
        gone = self.look(bases).gone
        for record in gone:
            register.remove(record)
        return [record.folder for record in gone]

    def _jobs(self) -> tuple[list[Job] | None, str]:
        if not self.slurm.is_here():
            return None, ""
        try:
            return self.slurm.jobs(), ""
        except Refusal as refusal:
            return None, refusal.what

    def _out_of_reach(self, session: Elsewhere, verb: str, *words: str) -> Refusal:
        call = " ".join([invocation.call(self._here.sif, verb, session.state), *map(shlex.quote, words)])
        what = f"session {session.state.id} runs {session.place}, and cannot be reached from here"
        if not session.state.job:
            return Refusal(ExitCode.NO_SESSION, what, hint=f"ssh {session.state.host} {shlex.quote(call)}")
        hint = f"there: srun --jobid={session.state.job} --overlap {call}; or, to do it from here: {NO_WAY}"
        return Refusal(ExitCode.NO_SESSION, what, hint=hint)


def said_there(done: Done, session: Elsewhere) -> Refusal:
    """What the session's own node refuses, in its words."""
    lines = [line for line in done.said.splitlines() if not line.startswith(("srun: ", "slurmstepd"))]
    what = lines[0].removeprefix("7lbd: ") if lines else done.said or f"a step there ended with {done.code}"
    return Refusal(
        ExitCode.NO_SESSION, f"{session.state.host}: {what}", hint="; ".join(line.strip() for line in lines[1:])
    )


def choose(view: View, name: str) -> Elsewhere | None:
    """The session of this id, or in the job of this number; without a name the only one. Raises Refusal."""
    matches = [one for one in view.sessions if not name or name in names(one.state)]
    if len(matches) > 1:
        what = f"several sessions are running: {named(matches)}"
        raise Refusal(ExitCode.NO_SESSION, what, hint="name one of them")
    return matches[0] if matches else None


def names(state: SessionState) -> set[str]:
    """What a session may be called: its id, its job's number, and that of an array's task, as squeue shows it."""
    jobs = {state.job, state.array} - {""}
    return {state.id, *jobs, *(f"job{job}" for job in jobs)}


def named(sessions: Iterable[Elsewhere]) -> str:
    """Sessions, for a person who must choose."""
    return ", ".join(f"{one.state.id} ({one.place})" for one in sessions)


def waiting(view: View, name: str) -> Job | None:
    """The job that waits and is meant by `name`: its number, or the id that its session will have."""
    return next((job for job in view.waiting if job.is_meant_by(name)), None)


def _is_in(bases: Iterable[Path], state: SessionState) -> bool:
    here = (session_folders.read_state(base / state.id) for base in bases)
    return any(known and (known.host, known.started) == (state.host, state.started) for known in here)


def _is_gone(record: PresenceRecord, others: Iterable[PresenceRecord], jobs: list[Job] | None) -> bool:
    if record.stale:
        return True
    state = record.state
    if state.job and jobs is not None and _job_of(state, jobs) is None:
        return True
    # A job that was started anew, on another node: what its earlier life left is not its session.
    later = (other.state for other in others if other.state.job and other.state.job == state.job)
    return any(other.id == state.id and other.started > state.started for other in later)


def _job_of(state: SessionState, jobs: Iterable[Job] | None) -> Job | None:
    return next((job for job in jobs or () if job.id == state.job and not job.waits), None)
