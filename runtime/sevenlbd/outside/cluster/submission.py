"""`submit`: hands a desktop's job to the scheduler, follows it until the desktop is ready, and says how to connect."""

from __future__ import annotations

import sys
from typing import Any

from ... import __version__
from ...errors import ExitCode
from .. import connect
from . import desk, following, jobscript, progress, rendering, site
from .desk import Desk
from .following import Outcome
from .node_programs import NodePrograms
from .register import tokens, usable, where
from .slurm import Slurm


def register(verbs: Any) -> None:
    """Add `submit`."""
    about = "have the scheduler start a desktop, follow it until it is ready, show how to connect"
    parser = desk.verb(verbs, "submit", about, submit, settings=(*rendering.session_settings(), "json_events"))
    jobscript.options(parser)
    parser.add_argument("--detach", action="store_true", help="print the job's number and do not follow it")


def submit(call: Desk) -> int:
    """Hand in, follow, tell. Ctrl-C ends the following, never the job."""
    known = site.read(call.here).slurm
    want = jobscript.wanted(call.options, known)
    script = jobscript.text(want, call.settings, call.here, f"7lbd submit ({__version__})")
    scheduler = Slurm(NodePrograms(call.here.environment))
    job = scheduler.submit(script, jobscript.as_arguments(want))
    shown = progress.choose(as_json=call.settings.json_events)
    if call.options.detach:
        print(job)
        return ExitCode.OK
    try:
        shown.submitted(job)
        shared = where(call.settings.state_dir, call.here.environment)
        useless = usable(shared)
        found = following.follow(scheduler, None if useless else shared, job, shown)
    except KeyboardInterrupt:
        shown.close()
        print(f"\n7lbd: job {job} goes on; {_later(call, job)}", file=sys.stderr)
        return ExitCode.INTERRUPTED
    finally:
        shown.close()
    if not call.settings.json_events:
        print(_told(call, found, job, scheduler, useless))
    return ExitCode.OK


def _later(call: Desk, job: str) -> str:
    ours = connect.command(call.here.sif)
    return f"how it does: {ours} status; to end it: {ours} stop job{job}"


def _told(call: Desk, found: Outcome, job: str, scheduler: Slurm, useless: str) -> str:
    state = found.state
    if state is None or found.record is None:
        output = scheduler.why_ended(job).get("StdOut", "")
        lost = f"no word of its session can be seen here ({useless or 'nothing has come so far'})"
        return f"7lbd: job {job} runs, but {lost}; see its output: {output or f'scontrol show job {job}'}"
    keys = tokens(found.record)
    key = f"#token={keys['desktop']}" if keys and sys.stdout.isatty() else ""
    ready = f"READY after {state.phases.get('ready', 0.0):.0f} s"
    end = f"  stop: {connect.call(call.here.sif, 'stop', state)}"
    return f"\n{ready}: {connect.instructions(state, state.account, call.here.sif, '', key)}\n\n{end}"
