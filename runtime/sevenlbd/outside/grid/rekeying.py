"""`grid rekey`: what wraps the key of encrypted images on this machine is changed, or the key is given up."""

from __future__ import annotations

from ...base.errors import ExitCode
from ...config.settings import KeyPlace, Settings
from ..cli.command import Command, CommandContext
from ..cli.parser import Parser, options
from ..console import terminal
from . import key_sources
from .image_key import ImageKey

_WITH: dict[str, str] = {
    KeyPlace.FILE: "a file of yours beside it",
    KeyPlace.COMMAND: "with the site's own program",
    KeyPlace.TPM: "sealed by this machine's TPM",
    KeyPlace.POOL: "with the pool",
}


def rekey(context: CommandContext) -> int:
    """Change it, or make it at the first time."""
    settings, environment = context.settings, context.here.environment
    if context.options.forget:
        key_sources.forget(settings, environment)
        terminal.say("the key is gone, and what it encrypted with it: the images are fetched anew")
        return ExitCode.OK
    own = key_sources.own(settings, environment)
    if not own.exists():
        own.make()
        terminal.say("a key was made")
        return ExitCode.OK
    name = _wanted(settings, own)
    own.change(key_sources.source(settings, own.place, name))
    terminal.say(f"the key of encrypted images is wrapped anew; what opens it is {_WITH[name]}")
    return ExitCode.OK


def _wanted(settings: Settings, own: ImageKey) -> str:
    """What is set; where nothing is, it stays where it is. Raises Refusal."""
    if settings.image_key_source is KeyPlace.AUTO and not settings.image_key_command:
        return own.kept_by[-1]
    return key_sources.wanted_place(settings)


def _options(parser: Parser) -> None:
    options(parser, "state_dir", "image_key_source")
    parser.add_argument("--forget", action="store_true", help="remove the key: what it has encrypted is lost with it")


COMMANDS = {"grid rekey": Command(rekey, _options)}
