"""How the user calls us: the command that every line to paste begins with."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from ...wire.state import SessionState
from ..folders import bases
from ..node.node_programs import NODE_ROOT

_COMMAND = "_7LBD_COMMAND"
"""In the environment: what the user types to call us, when that is shorter than `apptainer run ...`."""


def call(sif: str, verb: str, state: SessionState) -> str:
    """How this user calls `verb` for this session, from another shell than the job's."""
    program = command(sif)
    where = Path(state.folder).parent
    known = where in bases.all_bases("", {}) or state.host != os.uname().nodename
    option = "" if known else f" --session-dir {shlex.quote(str(where))}"
    return f"{program} {verb} {state.id}{option}"


def command(sif: str) -> str:
    """What this user types to call us."""
    if named := os.environ.get(_COMMAND):
        return named
    shows = f"--bind /:{NODE_ROOT} " if (NODE_ROOT / "usr").is_dir() else ""
    return f"apptainer run {shows}{shlex.quote(sif)}" if sif else "7lbd"
