"""`exec --session`: one more command in a machine that was kept."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from ...base import process
from ...base.errors import ExitCode, Refusal
from ...wire.state import Phase, SessionState
from ..cli.command import CommandContext
from ..folders import bases, session_folders
from . import outlet, planned, sinks
from .attached import GuestJob
from .request import JobRequest

_KEEP = "7lbd exec --keep NAME --image IMAGE"
_LAST_SECONDS = 2.0  # for whoever reads us, when we were asked to end


def run(context: CommandContext) -> int:
    """Raises Refusal."""
    options, settings = context.options, context.settings
    where = bases.all_bases(settings.session_dir, context.here.environment)
    folder = session_folders.find(where, options.session, _KEEP)
    wanted = planned.request(options, context.umask, as_json=settings.json_events)
    state = running(folder)
    _check_folder(state, wanted)
    planned.check_desktop(wanted, f"the image of session {state.id}", can=state.desktop)
    job = GuestJob(folder, wanted, sinks.Json() if wanted.as_json else sinks.Raw(), windows=state.runs == "windows")
    for number in process.END_SIGNALS:
        signal.signal(number, lambda number, _frame: job.urge(number))
    code = job.run().code
    outlet.flush(outlet.patience(_LAST_SECONDS) if job.hurried else lambda: job.hurried)
    return code


def running(folder: Path) -> SessionState:
    """The state of a session that takes commands now. Raises Refusal."""
    state = session_folders.read_state(folder)
    if state is None or not state.runs:
        what = f"session {folder.name} is a desktop, and takes no commands"
        raise Refusal(ExitCode.NO_SESSION, what, hint=_KEEP)
    if state.phase is not Phase.READY:
        raise Refusal(ExitCode.NO_SESSION, f"session {folder.name} is {state.phase}", hint="wait until it is ready")
    return state


def _check_folder(state: SessionState, wanted: JobRequest) -> None:
    """A command that worked in another folder than its caller thinks would be no refusal, but a wrong result."""
    if wanted.apart != (not state.works_in):
        how = "on copies (--input, --output)" if not state.works_in else f"in {state.works_in} itself"
        what = f"session {state.id} was kept to work {how}, and this command wants it otherwise"
        raise Refusal(ExitCode.USAGE, what, hint="give both the same of --input and --output, or none to both")
    if not wanted.apart and os.path.realpath(wanted.folder) != state.works_in:
        what = f"session {state.id} works in {state.works_in}, and the current folder is {wanted.folder}"
        raise Refusal(ExitCode.USAGE, what, hint=f"cd {state.works_in}")
