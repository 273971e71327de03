"""What `run` takes: every setting of a session. What it does is `launch`, which begins before all this is loaded."""

from __future__ import annotations

from ...config.settings import Settings, extra
from .command import Command
from .parser import Parser, options


def _options(parser: Parser) -> None:
    options(parser, *(name for name in Settings.model_fields if not extra(name)["site"]))
    form = "what a portal's form asks for, checked against the site's table [ondemand]"
    parser.add_argument("--form", metavar="FILE", default="", help=form)


COMMANDS = {"run": Command(None, _options)}
