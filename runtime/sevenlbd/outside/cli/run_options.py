"""What `run` takes: every setting of a session. What it does is `launch`, which begins before all this is loaded."""

from __future__ import annotations

from ...config.settings import Settings, extra
from . import command_line
from .command import Command


def _options(parser: command_line.Parser) -> None:
    command_line.options(parser, *(name for name in Settings.model_fields if not extra(name)["site"]))
    form = "what a portal's form asks for, checked against the site's table [ondemand]"
    parser.add_argument("--form", metavar="FILE", default="", help=form)


COMMANDS = {"run": Command(None, _options)}
