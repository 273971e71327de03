"""The verbs `status` and `stop`, and which session is meant: one of this node's, or one on another."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from ...base import units
from ...base.errors import ExitCode, Refusal, visible
from ...config import sources
from ...wire.state import SessionState
from ..cli.command import Command, CommandContext
from ..cli.parser import Parser, options
from ..console import invocation, terminal, words
from ..folders import bases, folder_lock, session_folders
from ..presence import elsewhere
from ..presence.elsewhere import Elsewhere, View
from ..project import standing
from ..saved import places
from ..schedulers.scheduler import Job
from ..session import control

_POLL = 0.2  # seconds; a look at a lock costs nothing, and somebody waits
_POLL_ELSEWHERE = 2.0  # seconds; each look goes to the scheduler and to the file server
# Longer than the guest's grace, the keeper's, and what a network file system takes to show that a record is gone.
_PATIENCE_SECONDS = 150.0


@dataclass(frozen=True)
class Seat:
    """From where a user looks at his sessions: this node's own, in `bases`, and by `lookout` those elsewhere."""

    here: sources.Places
    bases: tuple[Path, ...]
    lookout: elsewhere.Lookout

    def find(self, name: str) -> Path | Elsewhere:
        """The session that is meant: of this node, if there is one that fits, or else elsewhere. Raises Refusal."""
        running = [path for path in session_folders.alive(*self.bases) if not name or _is_called(path, name)]
        if len(running) == 1:
            return running[0]
        if running and not name:
            return session_folders.find(self.bases, name)
        if running:
            what = f"several sessions are called `{name}`: {', '.join(path.name for path in running)}"
            raise Refusal(ExitCode.NO_SESSION, what, hint="name one of them")
        view = self.lookout.look(self.bases)
        remote = elsewhere.choose(view, name)
        if remote:
            return self._at_hand(remote) or remote
        if job := elsewhere.waiting(view, name):
            what = f"job {job.id} has no session yet: {job}"
            hint = f"wait for it; or: {invocation.command(self.here.sif)} stop {name}"
            raise Refusal(ExitCode.NO_SESSION, what, hint=hint)
        if view.sessions:
            what = f"there is no session `{name}`; there are: {elsewhere.named(view.sessions)}"
            raise Refusal(ExitCode.NO_SESSION, what, hint="name one of them")
        return session_folders.find(self.bases, name)

    def _at_hand(self, remote: Elsewhere) -> Path | None:
        """The folder of a session that is on this very node, but in another folder of sessions than this call's."""
        folder = Path(remote.state.folder)
        if remote.state.host != os.uname().nodename or not folder_lock.is_alive(folder):
            return None
        bases.check_owned(folder.parent)
        return folder


def _is_called(folder: Path, name: str) -> bool:
    state = session_folders.read_state(folder)
    return name in (folder.name, f"job{name}") or (state is not None and name in elsewhere.names(state))


def seat(context: CommandContext) -> Seat:
    """Where we are; a folder that somebody else put there is not even looked into. Raises Refusal."""
    bases_here = bases.all_bases(context.settings.session_dir, context.here.environment)
    return Seat(context.here, bases_here, elsewhere.Lookout(context.here, context.settings))


def status(context: CommandContext) -> int:
    """Show this user's sessions, on this node and elsewhere, and the desktops that wait in the queue."""
    options, ours = context.options, seat(context)
    view = ours.lookout.look(ours.bases)
    abroad, local, waiting = view.sessions, session_folders.alive(*ours.bases), view.waiting
    if options.session:
        session = ours.find(options.session)
        abroad = (session,) if isinstance(session, Elsewhere) else ()
        local = [] if isinstance(session, Elsewhere) else [session]
        waiting = ()
    states = [state for state in map(session_folders.read_state, local) if state]
    if options.json:
        terminal.say_json([asdict(state) for state in (*states, *(one.state for one in abroad))])
        return ExitCode.OK
    _print(states, abroad, waiting)
    if not options.session:
        _print_saved(context)
    _print_trouble(view, invocation.command(ours.here.sif))
    return ExitCode.OK


def _print(states: Iterable[SessionState], abroad: Iterable[Elsewhere], waiting: Iterable[Job]) -> None:
    lines = [line for state in states for line in _described(state, "")]
    lines += [line for one in abroad for line in _described(one.state, f"  {one.place}")]
    lines += [f"job{job.id}  {visible(str(job))}  ({visible(job.name)})" for job in waiting]
    terminal.say(*(lines or [f"no session of yours is running on {os.uname().nodename}, or known elsewhere"]))


def _described(state: SessionState, whereabouts: str) -> Iterable[str]:
    kind = f"{state.called}  {state.accel}, {state.network}"
    yield f"{state.id}  {state.phase}  up {units.duration(state.elapsed())}  {kind}{whereabouts}"
    if state.ends_at:
        yield f"    {words.ends(state)}"
    if state.background:
        yield f"    {state.background}"
    if state.paused:
        yield f"    PAUSED: {state.paused}"
    times = [*state.phases.items(), *state.milestones.items()]
    for name, at in sorted(times, key=lambda item: item[1]):
        yield f"    {at:8.1f} s  {words.step(name)}"
    if state.project:
        yield f"    PROJECT: {standing.spelled(state)}"
    for text in state.ways_out:
        yield f"    WAYS OUT: {text}"
    for text in state.warnings:
        yield f"    WARNING: {text}"


def _print_saved(context: CommandContext) -> None:
    """The desktops that were suspended, and not those that run. Nothing is loaded for whoever has none."""
    folder = places.folder(context.settings.state_dir, context.here.environment)
    if folder and (found := places.all_in(folder)):
        from ..saved import claims
        from .saved_verbs import line

        terminal.say(*(f"suspended: {line(path)}" for path in found if claims.user_of(path) is None))


def _print_trouble(view: View, ours: str) -> None:
    if view.trouble:
        terminal.say(f"7lbd: the scheduler could not be asked, so a session may be gone: {view.trouble}", error=True)
    if view.gone:
        terminal.say(f"7lbd: {len(view.gone)} left word and are gone; to remove it: {ours} gc", error=True)


def stop(context: CommandContext) -> int:
    """Tell a session to end, and wait until it has."""
    options, ours = context.options, seat(context)
    if options.session and (job := _in_queue(ours, options.session)):
        meant = ours.lookout.take_out(job, options.session)
        terminal.say(f"job {meant} is taken out of the queue")
        return ExitCode.OK
    target = ours.find(options.session)
    if isinstance(target, Elsewhere):
        return _stop_elsewhere(ours, target, now=options.now)
    try:
        control.send_stop(target, now=options.now)
    except (OSError, ValueError) as error:
        raise deaf(target, error) from None
    while folder_lock.is_alive(target):
        time.sleep(_POLL)
    terminal.say(f"session {target.name} has ended")
    return ExitCode.OK


def _in_queue(ours: Seat, name: str) -> Job | None:
    if any(_is_called(folder, name) for folder in session_folders.alive(*ours.bases)):
        return None
    return elsewhere.waiting(ours.lookout.look(ours.bases), name)


def _stop_elsewhere(ours: Seat, remote: Elsewhere, *, now: bool) -> int:
    ours.lookout.stop(remote, now=now)
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if not remote.record.exists() or remote.record not in [
            one.record for one in ours.lookout.look(ours.bases).sessions
        ]:
            terminal.say(f"session {remote.state.id} has ended")
            return ExitCode.OK
        time.sleep(_POLL_ELSEWHERE)
    what = f"session {remote.state.id} {remote.place} was told to end, and still has not"
    raise Refusal(ExitCode.NO_SESSION, what, hint=f"{invocation.command(ours.here.sif)} stop --now {remote.state.id}")


def deaf(target: Path, error: Exception) -> Refusal:
    """A session that is alive, as far as its lock tells, and does not answer."""
    why = getattr(error, "strerror", None) or str(error)
    return Refusal(ExitCode.NO_SESSION, f"session {target.name} does not listen ({why})", hint="7lbd gc, if it is dead")


def which_session(parser: Parser) -> None:
    """The words by which a verb is told which session is meant."""
    parser.add_argument("session", nargs="?", default="", help="the session's id; not needed when you have only one")
    options(parser, "session_dir", "state_dir")


def _status_options(parser: Parser) -> None:
    parser.add_argument("--json", action="store_true", help="as JSON")
    which_session(parser)


def _stop_options(parser: Parser) -> None:
    parser.add_argument("--now", action="store_true", help="switch it off without waiting for the guest")
    which_session(parser)


COMMANDS = {"status": Command(status, _status_options), "stop": Command(stop, _stop_options)}
