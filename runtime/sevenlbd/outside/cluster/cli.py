"""The command line of `7lbd submit` and `7lbd render`: put together from the modules beside this one."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from ...settings import Settings
from .. import cli, places

_SUBMIT: tuple[ModuleType, ...] = ()
_RENDER: tuple[ModuleType, ...] = ()


@dataclass(frozen=True)
class Desk:
    """One call of a verb: the options, the settings in force, and where we are."""

    options: argparse.Namespace
    settings: Settings
    here: places.Places


Call = Callable[[Desk], int]


def verb(verbs: Any, name: str, about: str, call: Call, *, settings: tuple[str, ...] = ()) -> cli.Parser:
    """Add a verb; `settings` are those that it takes as options."""
    parser: cli.Parser = verbs.add_parser(
        name, help=about, description=about[0].upper() + about[1:] + ".", allow_abbrev=False
    )
    parser.set_defaults(call=call)
    for setting in settings:
        cli.option(parser, setting)
    return parser


def build() -> tuple[cli.Parser, dict[str, cli.Parser]]:
    """A parser of both verbs, and that of each thing that one can do: `submit`, `render slurm` ..."""
    parser = cli.Parser(prog="7lbd", epilog=cli.exit_codes(), allow_abbrev=False)
    verbs = parser.add_subparsers(title="verbs", dest="verb", metavar="VERB", required=True)
    for group in _SUBMIT:
        group.register(verbs)
    about = "write a job script, an Open OnDemand app, a site's settings file, or the `7lbd` command"
    render = verbs.add_parser("render", help=about, description=about.capitalize() + ".", allow_abbrev=False)
    things = render.add_subparsers(title="things", dest="thing", metavar="THING", required=True)
    for group in _RENDER:
        group.register(things)
    known = {name: found for name, found in verbs.choices.items() if name != "render"}
    return parser, known | {f"render {name}": found for name, found in things.choices.items()}


def run(words: Sequence[str]) -> int:
    """Do what the words say; returns the exit code. Raises Refusal."""
    parser, verbs = build()
    options, unknown = parser.parse_known_args(words)
    if unknown:
        name = " ".join(filter(None, (options.verb, getattr(options, "thing", ""))))
        verbs[name].refuse(unknown[0].partition("=")[0])
    here = places.look_around(os.environ)
    chosen = places.settings(here, cli.source(options)).settings
    code: int = options.call(Desk(options, chosen, here))
    return code
