"""How a user reaches the desktop: the links and lines to paste, as text. It opens nothing itself."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from urllib.parse import urlsplit

from ...base import hostnames
from ...base.addresses import HOST
from ...base.errors import visible
from ...base.rdp_file import FIRST_PORT, local_port, pasted
from ...wire.state import SessionState
from ..access.credentials import Credentials
from .invocation import call

# The first ones of the user's own computer; each session has its own, as far from there as `local_port` has it.
_LOCAL_WEB = 18080
_LOCAL_VNC = 15900


def ready_block(state: SessionState, sif: str, link: str) -> str:
    """The lines that `run` ends in. `link` is the page's with its key for a terminal, without it for a job's log."""
    lines = [
        f"READY after {state.phases.get('ready', 0.0):.0f} s: session {state.id} on {state.host}",
        *([f"  the desktop      {link}"] if link else []),
        f"  its link + key   {call(sif, 'connect', state)} --url",
        f"  how to connect   {call(sif, 'connect', state)}",
        f"  the password     {call(sif, 'connect', state)} --password",
        f"  native RDP       {state.folder}/rdp.sock",
        *([f"  console (VNC)    {state.folder}/vnc.sock"] if has_console(state) else []),
        f"  your files       in the guest at \\\\{HOST} (home, and what --share named)",
        f"  stop             Ctrl-C here, shut down the guest, or: {call(sif, 'stop', state)}",
    ]
    return "\n".join(map(visible, lines))


def has_console(state: SessionState) -> bool:
    """Whether the machine's screen is offered."""
    return state.console


def link(state: SessionState, access: Credentials, role: str) -> str:
    """The page's address with the key of a role. The key stands behind a #, which no browser sends anywhere."""
    return f"{state.url or _forwarded(state)}#token={access.tokens[role]}"


def _forwarded(state: SessionState) -> str:
    """Where the page is on the user's own computer, brought there by `web_line`.

    A page that listens on loopback keeps its port: so the same link holds on the node and at home.
    """
    return state.url if _on_loopback(state) else f"http://127.0.0.1:{_port(state, _LOCAL_WEB)}/"


def _port(state: SessionState, first: int) -> int:
    return first + local_port(state.id) - FIRST_PORT


def _on_loopback(state: SessionState) -> bool:
    try:
        address = hostnames.address(urlsplit(state.url).hostname or "")
    except ValueError:
        return False  # no URL at all
    return address is not None and address.is_loopback


def web_line(state: SessionState) -> str:
    """The command that brings the page to the user's own computer."""
    if not _on_loopback(state):
        return _forward(state, _port(state, _LOCAL_WEB), "web.sock")
    page = urlsplit(state.url)
    if page.scheme == "http":
        return _forward(state, page.port or _LOCAL_WEB, "web.sock")
    # The Unix socket speaks no TLS.
    return f"ssh {_jump(state)}-L {page.port}:{page.netloc} {pasted(_login(state))}"


def ssh_line(state: SessionState) -> str:
    """The command that brings the desktop's port to the user's own computer (ssh(1), -L)."""
    return _forward(state, local_port(state.id), "rdp.sock")


def console_line(state: SessionState) -> str:
    """The same for the console."""
    return _forward(state, _port(state, _LOCAL_VNC), "vnc.sock")


def _forward(state: SessionState, port: int, name: str) -> str:
    return f"ssh {_jump(state)}-L {pasted(f'{port}:{state.folder}/{name}')} {pasted(_login(state))}"


def _jump(state: SessionState) -> str:
    """Whoever asks on another node than the session's is on a login node: his own computer comes through that, too."""
    here = os.uname().nodename
    return "" if here == state.host else f"-J {pasted(f'{state.user}@{here}')} "


def _login(state: SessionState) -> str:
    return f"{state.user}@{state.host}"


def instructions(state: SessionState, account: str, sif: str, rdp: str, key: str) -> str:
    """What `connect` prints: the ways in, step by step.

    `rdp` is the .rdp file, or empty when there is none; `key` is what follows the page's address, or empty.
    """
    parts = [
        [f"session {state.id} on {state.host}"],
        _by_browser(state, sif, key),
        _by_client(state, account, sif, rdp),
    ]
    if state.native_port:
        parts.append(_by_tls(state, sif))
    parts.append(_others(state, account))
    return "\n\n".join("\n".join(map(visible, part)) for part in parts)


def _by_browser(state: SessionState, sif: str, key: str) -> list[str]:
    notes = [] if key else [f"     Its link with the key: {call(sif, 'connect', state)} --url"]
    if state.web_certificate:
        notes.append(f"     The certificate that the browser shows has the SHA-256 {state.web_certificate}")
    if state.url and not _on_loopback(state):
        return [
            "In the browser",
            f"  Open {state.url}{key}",
            *notes,
            "  From outside the cluster's network keep this running on your own computer:",
            f"     {web_line(state)}",
            f"  and open {_forwarded(state)}{key}",
        ]
    return [
        "In the browser",
        "  1. On your own computer, keep this running; it brings the page to a port there:",
        f"     {web_line(state)}",
        f"  2. Open {_forwarded(state)}{key}",
        *notes,
    ]


def _by_client(state: SessionState, account: str, sif: str, rdp: str) -> list[str]:
    # The file is where it was written: here.
    copy = [f"     scp {pasted(f'{state.user}@{os.uname().nodename}:{rdp}')} ."] if rdp else []
    shown = (
        [f"  4. Your client shows the desktop's certificate (SHA-256): {state.certificate}"]
        if state.certificate
        else []
    )
    return [
        "With an RDP client",
        "  1. On your own computer, keep this running; it brings the desktop to a port there:",
        f"     {ssh_line(state)}",
        f"  2. On your own computer, connect an RDP client to 127.0.0.1:{local_port(state.id)}"
        + (", or open the .rdp file, which knows that:" if rdp else "."),
        *copy,
        f"  3. Log in as {account}. The password:",
        f"     {call(sif, 'connect', state)} --password",
        *shown,
    ]


def _by_tls(state: SessionState, sif: str) -> list[str]:
    return [
        f"With an RDP client and without ssh, over mutual TLS (port {state.native_port})",
        f"  Write the client's bundle, once: {call(sif, 'connect', state)} --client",
    ]


def _others(state: SessionState, account: str) -> list[str]:
    pinned = f" /cert:deny,fingerprint:sha256:{state.certificate.lower()}" if state.certificate else ""
    rdp = shlex.quote(f"{state.folder}/rdp.sock")
    node = "this node" if state.host == os.uname().nodename else state.host
    lines = [f"{f'on {node} itself':22} xfreerdp /v:{rdp} /u:{account}{pinned}"]
    if has_console(state):
        lines.append(
            f"console (VNC)         {console_line(state)}   then a VNC client to 127.0.0.1:{_port(state, _LOCAL_VNC)}"
        )
    return lines


def bundle_written(state: SessionState, folder: Path, readme: str) -> str:
    """What `connect --client` prints: where the bundle is, how it gets home, and what is in its own words."""
    return "\n".join(
        (
            f"the client's bundle is in {folder}; bring it to your own computer:",
            f"  scp -r {pasted(f'{_login(state)}:{folder}')} .",
            "",
            readme.rstrip(),
        )
    )
