"""The command line of `7lbd submit` and `7lbd render`: put together from the modules beside this one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from types import ModuleType

from ...settings import nearest
from .. import cli, places
from . import rendering, site_file, submission
from .desk import Desk
from .ondemand import cli as ondemand

_SUBMIT: tuple[ModuleType, ...] = (submission,)
_RENDER: tuple[ModuleType, ...] = (rendering, site_file, ondemand)


def build() -> tuple[cli.Parser, dict[str, cli.Parser]]:
    """A parser of both verbs, and that of each thing that one can do: `submit`, `render slurm` ..."""
    parser = cli.Parser(prog="7lbd", epilog=cli.exit_codes(), allow_abbrev=False)
    verbs = parser.add_subparsers(title="verbs", dest="verb", metavar="VERB", required=True)
    for group in _SUBMIT:
        group.register(verbs)
    about = "write a job script, an Open OnDemand app, a site's settings file, or the `7lbd` command"
    render = verbs.add_parser("render", help=about, description=about[0].upper() + about[1:] + ".", allow_abbrev=False)
    things = render.add_subparsers(title="things", dest="thing", metavar="THING", required=True)
    for group in _RENDER:
        group.register(things)
    known = {name: found for name, found in verbs.choices.items() if name != "render"}
    return parser, known | {f"render {name}": found for name, found in things.choices.items()}


def run(words: Sequence[str]) -> int:
    """Do what the words say; returns the exit code. Raises Refusal."""
    parser, verbs = build()
    if words[0] == "render":
        _check_thing(words[1:], verbs)
    options, unknown = parser.parse_known_args(words)
    if unknown:
        name = " ".join(filter(None, (options.verb, getattr(options, "thing", ""))))
        verbs[name].refuse(unknown[0].partition("=")[0])
    here = places.look_around(os.environ)
    chosen = places.settings(here, cli.source(options)).settings
    code: int = options.call(Desk(options, chosen, here))
    return code


def _check_thing(words: Sequence[str], verbs: dict[str, cli.Parser]) -> None:
    """Raises Refusal when there is none, or one that nobody knows."""
    things = {name.removeprefix("render "): found for name, found in verbs.items() if name.startswith("render ")}
    listed = ", ".join(things)
    render = cli.Parser(prog="7lbd render")
    if not words:
        render.error(f"`render` wants to know what: {listed}")
    if words[0] not in things and not words[0].startswith("-"):
        render.error(f"`{words[0]}` is nothing that `render` makes{nearest(words[0], things)}; there are {listed}")
