"""How a user reaches the desktop: the lines to paste, and the .rdp file. It opens nothing itself."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from ..rdp_file import LOCAL_PORT
from ..rdp_file import rdp_file as rdp_file
from ..state import SessionState
from .folder import CREDENTIALS, base

_LOCAL_VNC = 5900


def call(sif: str, verb: str, state: SessionState) -> str:
    """How this user calls `verb` for this session, from another shell than the job's."""
    program = f"apptainer run {shlex.quote(sif)}" if sif else "7lbd"
    where = Path(state.folder).parent
    place = "" if where == base("", {}) else f" --session-dir {shlex.quote(str(where))}"
    return f"{program} {verb} {state.id}{place}"


def ready_block(state: SessionState, sif: str) -> str:
    """The lines that `run` ends in. No secret is in them: a job's log may be readable for others."""
    return "\n".join(
        (
            f"READY after {state.phases.get('ready', 0.0):.0f} s: session {state.id} on {state.host}",
            f"  how to connect   {call(sif, 'connect', state)}",
            f"  the password     {call(sif, 'connect', state)} --password",
            f"  native RDP       {state.folder}/rdp.sock",
            f"  console (VNC)    {state.folder}/vnc.sock",
            "  your files       in the guest at \\\\169.254.100.2 (home, and what --share named)",
            f"  stop             Ctrl-C here, shut down the guest, or: {call(sif, 'stop', state)}",
        )
    )


def ssh_line(state: SessionState) -> str:
    """The command that brings the desktop's port to the user's own computer (ssh(1), -L)."""
    return _forward(state, LOCAL_PORT, "rdp.sock")


def console_line(state: SessionState) -> str:
    """The same for the console."""
    return _forward(state, _LOCAL_VNC, "vnc.sock")


def _forward(state: SessionState, port: int, name: str) -> str:
    forward = shlex.quote(f"{port}:{state.folder}/{name}")
    return f"ssh -L {forward} {shlex.quote(_login(state))}"


def _login(state: SessionState) -> str:
    return f"{state.user}@{state.host}"


def credentials(folder: Path) -> dict[str, str]:
    """The session's account and password. Raises OSError when the session has ended."""
    found: dict[str, str] = json.loads((folder / CREDENTIALS).read_text())
    return found


def instructions(state: SessionState, account: str, sif: str, rdp: str) -> str:
    """What `connect` prints: the way in, step by step. `rdp` is the .rdp file, or empty when there is none."""
    copy = [f"     scp {shlex.quote(f'{_login(state)}:{rdp}')} ."] if rdp else []
    return "\n".join(
        (
            f"session {state.id} on {state.host}",
            "",
            "1. On your own computer, keep this running; it brings the desktop to a port there:",
            f"     {ssh_line(state)}",
            f"2. On your own computer, connect an RDP client to 127.0.0.1:{LOCAL_PORT}"
            + (", or open the .rdp file, which knows that:" if rdp else "."),
            *copy,
            f"3. Log in as {account}. The password:",
            f"     {call(sif, 'connect', state)} --password",
            "",
            f"on this node itself   xfreerdp /v:{shlex.quote(f'{state.folder}/rdp.sock')} /u:{account}",
            f"console (VNC)         {console_line(state)}   then a VNC client to 127.0.0.1:{_LOCAL_VNC}",
        )
    )
