"""`submit`: hands a desktop's job to the scheduler, follows it until the desktop is ready, and says how to connect."""

from __future__ import annotations

import sys

from ... import __version__
from ...base.errors import ExitCode
from ..cli.command import Command, CommandContext
from ..cli.parser import Parser
from ..console import instructions, invocation, terminal
from ..node.node_programs import NodePrograms
from ..presence.records import tokens, usable, where
from ..schedulers import known
from ..schedulers.scheduler import Scheduler
from ..site import site_tables
from ..site.site_tables import Site
from . import condor_description, following, job_script, queue_display, rendering
from .allocations.share import session_of
from .following import JobOutcome


def submit(context: CommandContext) -> int:
    """Hand in, follow, tell. Ctrl-C ends the following, never the job."""
    site = site_tables.read(context.here)
    scheduler = known.chosen(NodePrograms(context.here.environment), context.options.scheduler, site.said)
    job = _handed_in(context, scheduler, site)
    shown = queue_display.choose(as_json=context.settings.json_events)
    if context.options.detach:
        terminal.say(job)
        return ExitCode.OK
    try:
        shown.submitted(job)
        shared = where(context.settings.state_dir, context.here.environment)
        useless = usable(shared)
        outcome = following.follow(scheduler, None if useless else shared, job, shown)
    except KeyboardInterrupt:
        shown.close()
        terminal.say("", f"7lbd: job {job} goes on; {_later(context, job)}", error=True)
        return ExitCode.INTERRUPTED
    finally:
        shown.close()
    if not context.settings.json_events:
        terminal.say_text(_told(context, outcome, job, scheduler, useless))
    return ExitCode.OK


def _handed_in(context: CommandContext, scheduler: Scheduler, site: Site) -> str:
    """Make the job as its scheduler takes it, and hand it in; returns its id. Raises Refusal."""
    made_by = f"7lbd submit ({__version__})"
    if scheduler.name == "condor":
        job = condor_description.wanted(context.options, site.condor)
        return scheduler.submit(condor_description.text(job, context.settings, context.here, made_by), ())
    want = job_script.wanted(context.options, site.slurm)
    script = job_script.text(want, context.settings, context.here, made_by)
    return scheduler.submit(script, job_script.as_arguments(want))


def _later(context: CommandContext, job: str) -> str:
    ours = invocation.command(context.here.sif)
    return f"how it does: {ours} status; to end it: {ours} stop {session_of(job)}"


def _told(context: CommandContext, outcome: JobOutcome, job: str, scheduler: Scheduler, useless: str) -> str:
    state = outcome.state
    if state is None or outcome.record is None:
        known_of_it = scheduler.why_ended(job)
        lost = f"no word of its session can be seen here ({useless or 'nothing has come so far'})"
        return f"7lbd: job {job} runs, but {lost}; see its output: {known_of_it.output or known_of_it.look}"
    keys = tokens(outcome.record)
    key = f"#token={keys['desktop']}" if keys and sys.stdout.isatty() else ""
    ready = f"READY after {state.phases.get('ready', 0.0):.0f} s"
    end = f"  stop: {invocation.call(context.here.sif, 'stop', state)}"
    return f"\n{ready}: {instructions.instructions(state, state.account, context.here.sif, '', key)}\n\n{end}"


def _options(parser: Parser) -> None:
    rendering.job_options(parser, "json_events")
    about = "whose job it is, where several are here (default: whichever is, or has its table in the site's file)"
    parser.add_argument("--scheduler", choices=known.NAMES, default="", help=about)
    parser.add_argument("--detach", action="store_true", help="print the job's number and do not follow it")


COMMANDS = {"submit": Command(submit, _options)}
