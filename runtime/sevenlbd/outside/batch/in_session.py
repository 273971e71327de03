"""`exec --session`: one more command in a machine that was kept."""

from __future__ import annotations

import signal
from pathlib import Path

from ...base.errors import ExitCode, Refusal
from ...wire.state import Phase
from ..cli.command import CommandContext
from ..folders import bases, session_folders
from . import planned, sinks
from .attached import GuestJob


def run(context: CommandContext) -> int:
    """Raises Refusal."""
    options, settings = context.options, context.settings
    where = bases.all_bases(settings.session_dir, context.here.environment)
    folder = session_folders.find(where, options.session)
    wanted = planned.request(options, context.umask, as_json=settings.json_events)
    job = GuestJob(folder, wanted, sinks.Json() if wanted.as_json else sinks.Raw(), windows=system(folder) == "windows")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda _number, _frame: job.urge())
    return job.run().code


def system(folder: Path) -> str:
    """The system that a session runs commands for. Raises Refusal."""
    state = session_folders.read_state(folder)
    if state is None or not state.runs:
        what = f"session {folder.name} is a desktop, and takes no commands"
        raise Refusal(ExitCode.NO_SESSION, what, hint="7lbd exec --keep NAME --image IMAGE")
    if state.phase is not Phase.READY:
        raise Refusal(ExitCode.NO_SESSION, f"session {folder.name} is {state.phase}", hint="wait until it is ready")
    return state.runs
