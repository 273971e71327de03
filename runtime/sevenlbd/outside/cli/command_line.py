"""The command line: the parsers of the table of verbs, with their options. It parses and does nothing else."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ... import __version__
from ...base.errors import MEANING
from ...config.settings import nearest
from . import misplaced, verbs
from .command import Command
from .parser import Parser
from .verbs import Group, Verb

_ABOUT = """\
7lbd gives you an isolated desktop (Windows, as a rule) on this node: a read-only image, your own files,
no network, and nothing left behind.

Without a verb, `run` is meant: apptainer run 7lbd.sif --image win11
"""
_ABOUT_IMAGES = """\
Keep golden images: one read-only disk for thousands of sessions, versioned, signed, warm.

They are in repositories: the folders of image_dirs, in order, then `images` beside the SIF. NAME is an image's
current version, NAME@VERSION that one.
"""


class _Root(Parser):
    """The program itself: its help shows the verbs in groups."""

    def format_help(self) -> str:
        """argparse's own page (its parts are those of ArgumentParser.format_help), with a heading for each group."""
        page = self._get_formatter()
        page.add_usage(self.usage, self._actions, self._mutually_exclusive_groups)
        page.add_text(self.description)
        listed = {action.dest: action for action in self._subparsers._group_actions[0]._get_subactions()}  # type: ignore[union-attr]  # it has verbs
        for group in Group:
            page.start_section(group)
            page.add_arguments([listed[verb.name] for verb in verbs.children(None) if verb.group is group])
            page.end_section()
        page.start_section("options")
        page.add_arguments(self._optionals._group_actions)
        page.end_section()
        page.add_text(self.epilog)
        return page.format_help()


@dataclass(frozen=True)
class _Family:
    """How the verbs below another one are called, and what is said when none or an unknown one is named."""

    title: str
    metavar: str
    missing: str = ""
    unknown: str = ""
    about: str = ""
    """A page for its help, with the exit codes below."""


_FAMILIES: Mapping[str, _Family] = {
    "": _Family("verbs", "VERB", unknown="is not a verb"),
    "image": _Family("verbs", "VERB", "`image` wants a verb", "is not a verb of `image`", _ABOUT_IMAGES),
    "image build": _Family("systems", "SYSTEM"),
    "saved": _Family("verbs", "VERB", "`saved` wants a verb", "is not a verb of `saved`"),
    "grid": _Family("verbs", "VERB", "`grid` wants a verb", "is not a verb of `grid`"),
    "grid pool": _Family("verbs", "VERB", "`grid pool` wants a verb", "is not a verb of `grid pool`"),
    "render": _Family("things", "THING", "`render` wants to know what", "is nothing that `render` makes"),
}


def parse(arguments: Sequence[str]) -> tuple[Verb, argparse.Namespace]:
    """The verb and its options. Raises Refusal when they are wrong."""
    words: list[str] = verbs.complete(arguments)
    behind: tuple[str, ...] = ()
    verb = verbs.find(words)
    if verb and verb.takes_command and "--" in words:
        at = words.index("--")
        words, behind = words[:at], tuple(words[at + 1 :])
    misplaced.refuse_sif(words)
    parsers = build([verb], alone=verb) if verb and verb.module else build([])
    _check_verb(words, verb, parsers)
    options, unknown = parsers[""].parse_known_args(words)
    assert verb is not None, "the parser has ended for a word that is no verb"
    if verb.takes_command:
        options.command = behind
    if unknown:
        misplaced.refuse_apptainer_options(arguments, unknown)
        if verb.takes_command:
            misplaced.refuse_command(parsers[verb.name].prog, unknown, behind)
        parsers[verb.name].refuse(unknown[0].partition("=")[0])
    return verb, options


def _check_verb(words: Sequence[str], verb: Verb | None, parsers: Mapping[str, Parser]) -> None:
    """Refuse a family without one of its verbs, in our words. Raises Refusal."""
    name = verb.name if verb else ""
    if name not in _FAMILIES:
        return
    family, below = _FAMILIES[name], [verbs.last(child) for child in verbs.children(verb)]
    subverb = next(iter(words[len(name.split()) :]), "")
    if not subverb and family.missing:
        parsers[name].error(f"{family.missing}: {', '.join(below)}")
    if subverb and not subverb.startswith("-") and family.unknown:
        near = nearest(subverb, below)
        parsers[name].error(f"`{subverb}` {family.unknown}{near}; there are {', '.join(below)}")


def command(verb: Verb) -> Command:
    """What the verb's own module says of it; only now is that loaded."""
    module = importlib.import_module(f"sevenlbd.outside.{verb.module}")
    described: Command = module.COMMANDS[verb.name]
    return described


def build(whole: Sequence[Verb] = verbs.VERBS, alone: Verb | None = None) -> dict[str, Parser]:
    """The parser of each verb by its name, and at "" that of all. Only those in `whole` know their options.

    With `alone` those of this verb and of its families: to make sixty takes 20 ms, and a start waits.
    """
    root = _Root(prog="7lbd", description=_ABOUT, epilog=exit_codes(), allow_abbrev=False)
    root.add_argument("--version", action="version", version=f"7lbd {__version__}")
    parsers: dict[str, Parser] = {"": root}
    branches = {"": _branch(root, "")}
    for verb in verbs.VERBS if alone is None else _down_to(alone):
        above = verb.name.rpartition(" ")[0]
        parsers[verb.name] = parser = branches[above].add_parser(verbs.last(verb), **_described(verb))
        if not verb.module:
            branches[verb.name] = _branch(parser, verb.name)
        elif verb in whole:
            command(verb).options(parser)
    return parsers


def _down_to(verb: Verb) -> list[Verb]:
    """Its families, and itself."""
    return [one for one in verbs.VERBS if f"{verb.name} ".startswith(f"{one.name} ")]


def _branch(parser: Parser, name: str) -> Any:
    family = _FAMILIES[name]
    return parser.add_subparsers(title=family.title, metavar=family.metavar, required=True, parser_class=Parser)


def _described(verb: Verb) -> dict[str, Any]:
    words: dict[str, Any] = {"help": verb.about, "aliases": verb.aliases, "allow_abbrev": False}
    family = _FAMILIES.get(verb.name)
    if family and family.about:
        return words | {"description": family.about, "epilog": exit_codes()}
    return words | {"description": verb.about[0].upper() + verb.about[1:] + "."}


def exit_codes() -> str:
    """All exit codes, for the end of a help text."""
    return "exit codes:\n" + "\n".join(f"  {code.value:>3}  {meaning}" for code, meaning in MEANING.items())
