"""`render slurm`, `render condor` and `render command`: text on the standard output, for people to read first."""

from __future__ import annotations

import shlex
from pathlib import Path

from ... import __version__
from ...base.errors import ExitCode
from ...config.settings import Settings, extra
from ..cli.command import Command, CommandContext
from ..cli.parser import Parser, options
from ..console import terminal
from ..node.node_programs import NODE_ROOT
from ..site import appliance_call, binds, site_tables
from . import condor_description, job_script

_WITH_SCHEDULER = ("submit", "status", "stop", "suspend", "connect", "gc", "doctor", "advertise", "grid")
"""Verbs that ask the scheduler, or who is logged in, and need to see the node's own tree for it."""


def session_settings() -> tuple[str, ...]:
    """The settings that a job's session can be given."""
    return tuple(
        name for name in Settings.model_fields if not extra(name)["site"] and name not in job_script.LOGIN_ONLY
    )


def job_options(parser: Parser, *more: str) -> None:
    """What a job's session can be given, with `more` settings, and then what can be said of the job itself."""
    # A verb's own options come first in its help, before the many of a session.
    options(parser.add_argument_group("settings of the session"), *session_settings(), *more)
    job_script.options(parser)


def slurm(context: CommandContext) -> int:
    """Print the job script."""
    want = job_script.wanted(context.options, site_tables.read(context.here).slurm)
    terminal.write(job_script.text(want, context.settings, context.here, f"7lbd render slurm ({__version__})"))
    return ExitCode.OK


def condor(context: CommandContext) -> int:
    """Print the submit description."""
    want = condor_description.wanted(context.options, site_tables.read(context.here).condor)
    made_by = f"7lbd render condor ({__version__})"
    terminal.write(condor_description.text(want, context.settings, context.here, made_by))
    return ExitCode.OK


def command(context: CommandContext) -> int:
    """Print the launcher."""
    known = site_tables.read(context.here).only_table
    setup = "\n".join(f"    {line}" for line in known.setup)
    ready = f"command -v {shlex.quote(known.apptainer)} >/dev/null || {{\n{setup}\n}}\n" if setup else ""
    sif = appliance_call.sif(known, context.here)
    others = [folder for folder in binds.folders(sif, context.settings) if folder != str(Path(sif).parent)]
    text = _COMMAND.format(
        version=__version__,
        sif=shlex.quote(sif),
        shows=binds.script(others, known.binds, first='"$(dirname -- "$sif")"'),
        ready=ready,
        verbs=" | ".join(_WITH_SCHEDULER),
        node=NODE_ROOT,
        apptainer=shlex.quote(known.apptainer),
    )
    terminal.write(text)
    return ExitCode.OK


_COMMAND = """\
#!/bin/bash
# 7lbd: the appliance's command. Made by: 7lbd render command ({version})
#
# Put it beside 7lbd.sif as `7lbd`, make it executable (chmod 755), and link it into everybody's PATH.
set -u
here=$(dirname -- "$(readlink -f -- "$0")")
sif=$here/7lbd.sif
[ -e "$sif" ] || sif={sif}
{ready}{shows}
case ${{1-}} in
# The scheduler's commands, and who is logged in, are the node's own.
{verbs}) desktop_binds+=(--bind=/:{node}) ;;
esac
# What the appliance tells people to type.
export _7LBD_COMMAND="${{0##*/}}"
exec {apptainer} run "${{desktop_binds[@]}}" "$sif" "$@"
"""

COMMANDS = {
    "render slurm": Command(slurm, job_options),
    "render condor": Command(condor, job_options),
    "render command": Command(command),
}
