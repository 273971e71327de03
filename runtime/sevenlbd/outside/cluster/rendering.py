"""`render slurm` and `render command`: text on the standard output, for people to read before they use it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from ... import __version__
from ...errors import ExitCode
from ...settings import Settings, extra
from . import desk, jobscript, program, shown, site
from .desk import Desk
from .node_programs import NODE_ROOT

_WITH_SCHEDULER = ("submit", "status", "stop", "connect", "gc", "doctor")
"""Verbs that ask the scheduler, and need to see the node's own programs for it."""


def session_settings() -> tuple[str, ...]:
    """The settings that a job's session can be given."""
    return tuple(name for name in Settings.model_fields if not extra(name)["site"] and name not in jobscript.LOGIN_ONLY)


def register(things: Any) -> None:
    """Add `slurm` and `command` to `7lbd render`."""
    about = "print a job script that starts a desktop: 7lbd render slurm --image win11 | sbatch"
    jobscript.options(desk.verb(things, "slurm", about, slurm, settings=session_settings()))
    about = "print the `7lbd` command for the nodes: a script that calls Apptainer with all that the site needs"
    desk.verb(things, "command", about, command)


def slurm(call: Desk) -> int:
    """Print the job script."""
    want = jobscript.wanted(call.options, site.read(call.here).slurm)
    print(jobscript.text(want, call.settings, call.here, f"7lbd render slurm ({__version__})"), end="")
    return ExitCode.OK


def command(call: Desk) -> int:
    """Print the launcher."""
    known = site.read(call.here).slurm
    setup = "\n".join(f"    {line}" for line in known.setup)
    ready = f"command -v {shlex.quote(known.apptainer)} >/dev/null || {{\n{setup}\n}}\n" if setup else ""
    sif = program.sif(known, call.here)
    others = [folder for folder in shown.folders(sif, call.settings) if folder != str(Path(sif).parent)]
    text = _COMMAND.format(
        version=__version__,
        sif=shlex.quote(sif),
        shows=shown.script(others, known.binds, first='"$(dirname -- "$sif")"'),
        ready=ready,
        verbs=" | ".join(_WITH_SCHEDULER),
        node=NODE_ROOT,
        apptainer=shlex.quote(known.apptainer),
    )
    print(text, end="")
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
# The scheduler's commands are the node's own.
{verbs}) desktop_binds+=(--bind=/:{node}) ;;
esac
# What the appliance tells people to type.
export _7LBD_COMMAND="${{0##*/}}"
exec {apptainer} run "${{desktop_binds[@]}}" "$sif" "$@"
"""
