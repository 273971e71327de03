"""What `run` takes: every setting of a session. What it does is `launch`, which begins before all this is loaded."""

from __future__ import annotations

from ...config.settings import Settings, extra
from .command import Command
from .parser import Parser, options


def _options(parser: Parser) -> None:
    options(parser, *(name for name in Settings.model_fields if not extra(name)["site"]))
    form = "what a portal's form asks for, checked against the site's table [ondemand]"
    parser.add_argument("--form", metavar="FILE", default="", help=form)
    parser.set_defaults(goes_on=False)
    _copy(parser)
    accept = "for `image accept`: the session's owner may have the agent run programs in the guest"
    parser.add_argument("--acceptance", action="store_true", help=accept)


def _resume_options(parser: Parser) -> None:
    others = ("resume", "resume_if_there")
    options(parser, *(name for name in Settings.model_fields if not extra(name)["site"] and name not in others))
    parser.set_defaults(form="", goes_on=True)
    _copy(parser)
    saved = "its name, or its file; not needed when you have only one"
    parser.add_argument("resume", nargs="?", metavar="NAME|FILE", default="", help=saved)


def _copy(parser: Parser) -> None:
    copied = "go on from a saved desktop even if another session does: both then hold the same licences and files"
    parser.add_argument("--copy", action="store_true", help=copied)


COMMANDS = {"run": Command(None, _options), "resume": Command(None, _resume_options)}
