"""`grid coordinator`: lend this machine, as long as its owner does not need it."""

from __future__ import annotations

from ....base.errors import ExitCode, Refusal
from ...cli.command import Command, CommandContext
from ...cli.parser import Parser, options
from .. import membership
from ..client import PoolClient
from .own_files import OwnFiles
from .owner_look import OwnerLook
from .service import Pool, Service


def coordinator(context: CommandContext) -> int:
    """Until it is told to end."""
    look = OwnerLook(context.here)
    look.read()
    keys = look.grid.trusted_keys or context.settings.trusted_keys
    if not keys:
        what = "no key is trusted here, so no image could ever run"
        raise Refusal(ExitCode.USAGE, what, hint='in 7lbd.toml, below [grid]: trusted_keys = ["7lbd-ed25519:..."]')
    place = membership.folder(context.settings.state_dir, context.here.environment)
    client = PoolClient(place)
    Service(context, OwnFiles(place), Pool(client, client.member.machine, client.member.url), look).run()
    return ExitCode.OK


def _options(parser: Parser) -> None:
    options(parser, "state_dir", "image_key", "image_key_source")


COMMANDS = {"grid coordinator": Command(coordinator, _options)}
