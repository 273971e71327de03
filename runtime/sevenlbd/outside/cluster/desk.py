"""What every verb of this package works with: the options, the settings in force, and where we are."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...settings import Settings
from .. import cli, places


@dataclass(frozen=True)
class Desk:
    """One call of a verb."""

    options: argparse.Namespace
    settings: Settings
    here: places.Places


Call = Callable[[Desk], int]


def verb(
    verbs: Any, name: str, about: str, call: Call, *, settings: tuple[str, ...] = (), aliases: tuple[str, ...] = ()
) -> cli.Parser:
    """Add a verb; `settings` are those that it takes as options, `aliases` other names of it."""
    parser: cli.Parser = verbs.add_parser(
        name, help=about, description=about[0].upper() + about[1:] + ".", allow_abbrev=False, aliases=aliases
    )
    parser.set_defaults(call=call)
    # A verb's own options come first in its help, before the many of a session.
    of_session = parser.add_argument_group("settings of the session") if settings else parser
    for setting in settings:
        cli.option(of_session, setting)
    return parser
