"""The verb `connect`: how to reach a desktop, here or on another node; or only the piece that was asked for."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ...base import atomic
from ...base.errors import ExitCode, Refusal
from ...base.rdp_file import local_port, rdp_file
from ...wire import tls
from ...wire.state import Phase, SessionState
from ..access import credentials, tls_files
from ..access.credentials import Credentials
from ..cli.command import Command, CommandContext
from ..cli.parser import Parser
from ..console import instructions, invocation, terminal
from ..folders import session_folders
from ..presence import records
from ..presence.elsewhere import Elsewhere
from ..session import control
from . import session_verbs
from .session_verbs import Seat, deaf


def show_connection(context: CommandContext) -> int:
    """Print how to reach the desktop, and write its .rdp file; or only what was asked for."""
    options, seat = context.options, session_verbs.seat(context)
    session = seat.find(options.session)
    if isinstance(session, Elsewhere):
        _show_elsewhere(options, seat, session)
    else:
        _show_here(options, seat.here.sif, session)
    return ExitCode.OK


def _show_here(options: argparse.Namespace, sif: str, target: Path) -> None:
    state, secret = _known(target)
    if options.password:
        terminal.say(secret.password)
    elif options.url:
        terminal.say(_link(state, secret, options.url))
    elif options.renew:
        _renew(target, state, sif)
    elif options.client is not None:
        _give_bundle(target, state, _bundle(options, state))
    else:
        _instruct(options, state, secret, sif)


def _show_elsewhere(options: argparse.Namespace, seat: Seat, session: Elsewhere) -> None:
    """The key may have been left in the register; the rest is only on the node itself."""
    state = session.state
    tokens = records.tokens(session.record)
    if options.password:
        _ask_there(seat, session, "--password")
    elif options.renew:
        _ask_there(seat, session, "--renew")
    elif options.client is not None:
        _ask_there(seat, session, f"--client={_bundle(options, state)}")
    elif options.url and not tokens:
        _ask_there(seat, session, f"--url={options.url}")
    elif options.url:
        terminal.say(_link(state, Credentials(state.account, "", "", tokens), options.url))
    else:
        _instruct(options, state, Credentials(state.account, "", "", tokens), seat.here.sif)


def _ask_there(seat: Seat, session: Elsewhere, option: str) -> None:
    """Have the session's own node answer. Raises Refusal with its words when it does not."""
    done = seat.lookout.on_its_node(session, "connect", option)
    if done.code:
        raise seat.lookout.said_there(done, session)
    if done.said:
        terminal.say_text(done.said, error=True)
    terminal.say_text(done.printed.removesuffix("\n"))


def _bundle(options: argparse.Namespace, state: SessionState) -> Path:
    return Path(options.client or f"7lbd-{state.id}-client").absolute()


def _instruct(options: argparse.Namespace, state: SessionState, secret: Credentials, sif: str) -> None:
    if state.phase is not Phase.READY:
        terminal.say(
            f"the desktop is not ready yet ({state.phase}); {invocation.command(sif)} status shows its progress"
        )
    written = _write_rdp(Path(options.rdp or f"7lbd-{state.id}.rdp"), secret.account, local_port(state.id))
    key = f"#token={secret.tokens['desktop']}" if secret.tokens and sys.stdout.isatty() else ""
    terminal.say_text(instructions.instructions(state, secret.account, sif, written, key))


def _known(target: Path) -> tuple[SessionState, Credentials]:
    state = session_folders.read_state(target)
    try:
        secret = credentials.read(target)
    except (OSError, ValueError):
        secret = None
    if state is None or secret is None:
        raise Refusal(
            ExitCode.NO_SESSION, f"session {target.name} is only just beginning", hint="try again in a second"
        )
    return state, secret


def _link(state: SessionState, secret: Credentials, role: str) -> str:
    if role == "console" and not instructions.has_console(state):
        what = f"the console of session {state.id} is switched off"
        raise Refusal(ExitCode.USAGE, what, hint="the desktop is at: connect --url")
    return instructions.link(state, secret, role)


def _renew(target: Path, state: SessionState, sif: str) -> None:
    try:
        trouble = control.send_renew(target)
    except (OSError, ValueError) as error:
        raise deaf(target, error) from None
    if trouble:
        raise Refusal(ExitCode.RESOURCES, f"the locks of session {target.name} could not all be changed: {trouble}")
    terminal.say(
        f"session {target.name} has new locks: old links and the windows that they opened are cut off", error=True
    )
    if state.native_port:
        again = f"{invocation.call(sif, 'connect', state)} --client"
        terminal.say(f"so are clients with the old bundle; the new one: {again}", error=True)
    terminal.say(instructions.link(*_known(target), "desktop"))


def _give_bundle(target: Path, state: SessionState, where: Path) -> None:
    if not state.native_port:
        what = f"session {state.id} offers no RDP over mutual TLS"
        raise Refusal(
            ExitCode.USAGE, what, hint="start it with --rdp-tls ADDRESS:PORT, or take the way by ssh: connect"
        )
    try:
        with tls_files.taken(target) as packed:
            tls_files.unpack(packed, where)
    except tls_files.Gone:
        what = f"the client's bundle of session {state.id} has been taken, and there is only one"
        hint = "if that was not you, or it is lost: connect --renew makes a new one and cuts the old one off"
        raise Refusal(ExitCode.USAGE, what, hint=hint) from None
    except OSError as error:
        hint = "name another folder, which is made: connect --client DIR"
        raise Refusal(ExitCode.USAGE, f"{where}: cannot be written: {error.strerror}", hint=hint) from None
    terminal.say_text(instructions.bundle_written(state, where, (where / tls.README).read_text()))


def _write_rdp(path: Path, account: str, port: int) -> str:
    """In one step, into a new file: never through a link that somebody has laid there, or over his file."""
    try:
        atomic.replace(path, rdp_file(account, port).encode())
    except OSError as error:
        terminal.say(f"7lbd: {path} could not be written: {error.strerror}", error=True)
        return ""
    return str(path.absolute())


def _options(parser: Parser) -> None:
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--password", action="store_true", help="print only the password")
    only.add_argument(
        "--url",
        nargs="?",
        const=credentials.ROLES[0],
        choices=credentials.ROLES,
        help="print only the page's link with its key: desktop opens all, the others no more than they say",
    )
    only.add_argument(
        "--renew",
        action="store_true",
        help="change all locks: old links, client bundles and open windows are worth nothing from then on",
    )
    only.add_argument(
        "--client",
        nargs="?",
        const="",
        metavar="DIR",
        help="write the client's bundle for RDP over mutual TLS, once (default: 7lbd-ID-client)",
    )
    parser.add_argument("--rdp", metavar="FILE", default="", help="where to write the .rdp file (default: 7lbd-ID.rdp)")
    session_verbs.which_session(parser)


COMMANDS = {"connect": Command(show_connection, _options)}
