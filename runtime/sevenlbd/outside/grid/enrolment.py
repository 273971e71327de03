"""`grid enrol`: a machine comes to belong to a pool, by a code that its administrator made.

The code is the secret that opens the pool once, a dot, and the digest of the service's key: whoever has the code knows
the right server, and nobody in between gets the secret.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from ...base.errors import ExitCode, Refusal
from ..cli.command import Command, CommandContext, say
from ..cli.parser import Parser, options
from ..console import terminal
from . import client, membership, protocol
from .enrolled_key import EnrolledKey
from .https_exchange import HttpQuestion, is_pin
from .membership import Membership
from .protocol import Enrolled, Enrolling
from .record_limits import is_machine

_SECONDS = 60.0  # a guess: somebody waits at a terminal
_HINT = "the pool's administrator makes one: 7lbd grid pool code"


def enrol(context: CommandContext) -> int:
    """Ask with the code, and keep what comes."""
    given = context.options
    place = membership.folder(context.settings.state_dir, context.here.environment)
    if (place / membership.MACHINE).exists() and not given.again:
        what = f"this machine belongs to {membership.read(place).url} already"
        raise Refusal(ExitCode.USAGE, what, hint="--again enrols it anew; it needs a new code")
    name = given.machine or usual_name(os.uname().nodename)
    if not is_machine(name):
        what = f"`{name[:80]}` cannot be a machine's name"
        raise Refusal(ExitCode.USAGE, what, hint="--machine NAME: lower-case letters, digits, dots and dashes")
    code = _code(given.code)
    secret, pin = parted(code)
    _make(place)
    key = EnrolledKey(context.settings, context.here.environment)
    key.prepare()
    enrolled = _asked(given.url, secret, pin, name)
    membership.write(place, Membership(given.url, enrolled.machine, pin), enrolled.token)
    say(f"this machine is `{enrolled.machine}` in the pool of {given.url}")
    terminal.say(f"  kept in {place}, for you alone")
    key.settle()
    return ExitCode.OK


def _make(place: Path) -> None:
    """Before the code is used up."""
    try:
        membership.make(place)
    except OSError as error:
        what = f"{place}: cannot be made: {error.strerror}"
        raise Refusal(ExitCode.RESOURCES, what, hint="--state-dir DIR, on a disk of this machine") from None


def _code(given: str) -> str:
    """A command line is seen by others of the machine: `-` has it read from the terminal, or a pipe."""
    if given != "-":
        return str(given)
    with os.fdopen(os.dup(0), "r", errors="replace") as source:
        return source.readline(1 << 10).strip()


def parted(code: str) -> tuple[str, str]:
    """The secret, and the digest of the service's key. Raises Refusal."""
    secret, dot, pin = code.partition(".")
    if not dot or not re.fullmatch(r"[A-Za-z0-9]{20,64}", secret) or not is_pin(pin):
        raise Refusal(ExitCode.USAGE, "that is no enrolment code: copy it again, whole", hint=_HINT)
    return secret, pin


def usual_name(node: str) -> str:
    """What a machine is called when nobody says."""
    return re.sub(r"[^a-z0-9.-]+", "-", node.lower()).strip("-.")[:63] or "machine"


def _asked(url: str, secret: str, pin: str, name: str) -> Enrolled:
    body = protocol.ENROLLING.pack(Enrolling(secret, name))
    most = protocol.MOST_BYTES[protocol.ENROL]
    answer = client.ask(membership.server_of(url, pin), HttpQuestion("POST", protocol.ENROL, most, _SECONDS, body=body))
    return client.unpacked(protocol.ENROLLED, answer)


def _options(parser: Parser) -> None:
    parser.add_argument("url", metavar="URL", help="the pool's service, https://HOST:PORT")
    parser.add_argument("--code", required=True, help="the code that its administrator made; - reads it from a line")
    parser.add_argument("--machine", metavar="NAME", default="", help="how it shall be called; its host name otherwise")
    parser.add_argument("--again", action="store_true", help="also when it belongs to a pool already")
    options(parser, "state_dir", "image_key_source")


COMMANDS = {"grid enrol": Command(enrol, _options)}
