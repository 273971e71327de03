"""The command line of `7lbd image`: its parser is put together from the modules beside this one."""

from __future__ import annotations

import argparse
import os
import signal
from collections.abc import Sequence
from typing import NoReturn

from ...errors import ExitCode
from ...settings import nearest
from .. import cli, places
from . import building, caching, intake, seal, shelf, upkeep, warming
from .desk import Desk

_GROUPS = (shelf, intake, seal, warming, upkeep, building, caching)
_ABOUT = """\
Keep golden images: one read-only disk for thousands of sessions, versioned, signed, warm.

They are in repositories: the folders of image_dirs, in order, then `images` beside the SIF. NAME is an image's
current version, NAME@VERSION that one.
"""


def build() -> tuple[cli.Parser, dict[str, cli.Parser]]:
    """The parser of `7lbd image`, and that of each of its verbs."""
    parser = cli.Parser(
        prog="7lbd image",
        description=_ABOUT,
        epilog=cli.exit_codes(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    verbs = parser.add_subparsers(title="verbs", dest="verb", metavar="VERB", required=True)
    for group in _GROUPS:
        group.register(verbs)
    return parser, verbs.choices


def run(words: Sequence[str], umask: int) -> int:
    """Do what the words after `7lbd image` say; returns the exit code. Raises Refusal."""
    parser, verbs = build()
    if not words:
        parser.error(f"`image` wants a verb: {', '.join(verbs)}")
    if words[0] not in verbs and not words[0].startswith("-"):
        parser.error(f"`{words[0]}` is not a verb of `image`{nearest(words[0], verbs)}; there are {', '.join(verbs)}")
    options, unknown = parser.parse_known_args(words)
    if unknown:
        verbs[options.verb].refuse(unknown[0].partition("=")[0])
    here = places.look_around(os.environ)
    chosen = places.settings(here, cli.source(options)).settings
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    code: int = options.call(Desk(options, chosen, here, umask))
    return code


def _end(_number: int, _frame: object) -> NoReturn:
    """Unwind what is half done, as after Ctrl-C, and then end."""
    raise SystemExit(ExitCode.TERMINATED)
