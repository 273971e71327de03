"""How a user reaches the desktop: the lines to paste, and the .rdp file. It opens nothing itself."""

from __future__ import annotations

import json
from pathlib import Path

from ..state import SessionState
from .folder import CREDENTIALS

LOCAL_PORT = 3389
_LOCAL_RDP = 13389


def invocation(sif: str) -> str:
    """How this user calls 7lbd again."""
    return f"apptainer run {sif}" if sif else "7lbd"


def ready_block(state: SessionState, sif: str) -> str:
    """The lines that `run` ends in. No secret is in them: a job's log may be readable for others."""
    call = invocation(sif)
    return "\n".join(
        (
            f"READY after {state.phases.get('ready', 0.0):.0f} s: session {state.id} on {state.host}",
            f"  how to connect   {call} connect {state.id}",
            f"  the password     {call} connect {state.id} --password",
            f"  native RDP       {state.folder}/rdp.sock",
            f"  console (VNC)    {state.folder}/vnc.sock",
            "  your files       in the guest at \\\\169.254.100.2\\home",
            f"  stop             Ctrl-C here, shut down the guest, or: {call} stop {state.id}",
        )
    )


def ssh_line(state: SessionState) -> str:
    """The command that brings the desktop's port to the user's own computer (ssh(1), -L)."""
    return f"ssh -L {_LOCAL_RDP}:{state.folder}/rdp.sock {state.user}@{state.host}"


def console_line(state: SessionState) -> str:
    """The same for the console."""
    return f"ssh -L 5900:{state.folder}/vnc.sock {state.user}@{state.host}"


def rdp_file(account: str) -> str:
    """An .rdp file for the forwarded port, with everything but the password.

    Keys: Microsoft, "Supported RDP properties with Remote Desktop Services".
    """
    lines = (
        f"full address:s:127.0.0.1:{_LOCAL_RDP}",
        f"username:s:{account}",
        "prompt for credentials:i:1",
        "authentication level:i:2",
        "enablecredsspsupport:i:1",
        "redirectclipboard:i:1",
        "redirectdrives:i:0",
        "redirectprinters:i:0",
        "screen mode id:i:1",
        "dynamic resolution:i:1",
        "session bpp:i:32",
        "networkautodetect:i:1",
    )
    return "\r\n".join(lines) + "\r\n"


def credentials(folder: Path) -> dict[str, str]:
    """The session's account and password. Raises OSError when the session has ended."""
    found: dict[str, str] = json.loads((folder / CREDENTIALS).read_text())
    return found


def instructions(state: SessionState, account: str, sif: str, rdp: str) -> str:
    """What `connect` prints: the way in, step by step."""
    return "\n".join(
        (
            f"session {state.id} on {state.host}",
            "",
            "1. On your own computer, keep this running (it brings the desktop to your port):",
            f"     {ssh_line(state)}",
            f"2. Open the .rdp file with your RDP client, or connect it to 127.0.0.1:{_LOCAL_RDP}:",
            f"     {rdp}",
            f"3. Log in as {account}. The password:",
            f"     {invocation(sif)} connect {state.id} --password",
            "",
            f"on this node itself   xfreerdp /v:{state.folder}/rdp.sock /u:{account}",
            f"console (VNC)         {console_line(state)}",
        )
    )
