"""`grid rekey`: what wraps the key of encrypted images on this machine is changed, or the key is given up."""

from __future__ import annotations

from contextlib import suppress

from ...base.errors import ExitCode, Refusal
from ..cli.command import Command, CommandContext
from ..cli.parser import Parser, options
from ..console import terminal
from . import key_sources
from .image_key import FileSource, ImageKey


def rekey(context: CommandContext) -> int:
    """Change it, or make it at the first time."""
    settings, environment = context.settings, context.here.environment
    own = key_sources.own(settings, environment)
    if context.options.forget:
        own.forget()
        terminal.say("the key is gone, and what it encrypted with it: the images are fetched anew")
        return ExitCode.OK
    if not own.exists():
        own.make()
        terminal.say("a key was made")
        return ExitCode.OK
    wanted = key_sources.source(settings, own.place)
    _present(own, wanted.name).change(wanted)
    kept = "a file of yours" if isinstance(wanted, FileSource) else settings.image_key_command[0]
    terminal.say(f"the key of encrypted images is wrapped anew; what opens it is with {kept}")
    return ExitCode.OK


def _present(own: ImageKey, wanted: str) -> ImageKey:
    """The key by what opens it now: the source that is set, or the file that it was before. Raises Refusal."""
    before = ImageKey(own.place, FileSource(own.place))
    if wanted != FileSource.name:
        with suppress(Refusal):
            before.load()
            return before
    own.load()
    return own


def _options(parser: Parser) -> None:
    options(parser, "state_dir", "image_key_command")
    parser.add_argument("--forget", action="store_true", help="remove the key: what it has encrypted is lost with it")


COMMANDS = {"grid rekey": Command(rekey, _options)}
