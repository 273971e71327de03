"""`grid show`, `grid pause`, `grid resume`: what the owner of a lent machine sees of it, and how she gets it back."""

from __future__ import annotations

from ....base import heartbeat
from ....base.errors import ExitCode, Refusal
from ....config.value_kinds import parse_duration
from ...cli.command import Command, CommandContext, say
from ...cli.parser import Parser
from ...console import terminal
from . import overview, owner_asking
from .owner_socket import OwnerCall


def show(context: CommandContext) -> int:
    """What may run here, and what does."""
    heard = owner_asking.call(OwnerCall("show"))
    if context.options.json:
        terminal.say_json(heard.answers)
    for said in () if context.options.json else heard.answers:
        terminal.say(*overview.lines(said))
    if heard.silent:
        terminal.warn(f"another coordinator runs on this machine, or seems to: {heard.trouble}")
    return ExitCode.OK


def pause(context: CommandContext) -> int:
    """Have the machine for oneself."""
    options = context.options
    try:
        seconds = parse_duration(options.for_)
    except ValueError as error:
        raise Refusal(ExitCode.USAGE, f"command line: `--for` = {options.for_}: {error}", hint="--for 4h") from None
    assert isinstance(seconds, float | int)
    order = OwnerCall("pause", heartbeat.user_name(), at_once=not options.in_order, seconds=float(seconds))
    _obeyed(order)
    end = "ends in order" if options.in_order else "ends now, at once"
    until = f"for {options.for_}" if seconds else "until: 7lbd grid resume"
    say(f"this machine is yours {until}; all that others had on it {end}")
    return ExitCode.OK


def resume(_context: CommandContext) -> int:
    """Lend it again."""
    _obeyed(OwnerCall("resume", heartbeat.user_name()))
    say("this machine is lent again, whenever its owner's policy allows")
    return ExitCode.OK


def _obeyed(order: OwnerCall) -> None:
    """Raises Refusal when one of the machine's coordinators has not: what the others were told, they do."""
    heard = owner_asking.call(order)
    # First: an answer may be any program's, and must not hide that a coordinator has not heard.
    if heard.silent:
        what = f"not every coordinator of this machine has heard it: {heard.trouble}"
        hint = "what it runs ends with it: have that user, or root, end it; ps -u USER shows its processes"
        raise Refusal(ExitCode.NODE, what, hint=hint)
    for said in heard.answers:
        if trouble := said.get("trouble"):
            raise Refusal(ExitCode.USAGE, str(trouble), hint="7lbd grid show")


def _show_options(parser: Parser) -> None:
    parser.add_argument("--json", action="store_true", help="as JSON, an object for each coordinator of this machine")


def _pause_options(parser: Parser) -> None:
    parser.add_argument(
        "--for", dest="for_", metavar="DURATION", default="0", help="for how long; otherwise until `grid resume`"
    )
    order = "give what runs the time to suspend or shut down that [owner] grants (grace)"
    parser.add_argument("--in-order", action="store_true", help=order)


COMMANDS = {
    "grid show": Command(show, _show_options, checks_settings=False),
    "grid pause": Command(pause, _pause_options, checks_settings=False),
    "grid resume": Command(resume, checks_settings=False),
}
