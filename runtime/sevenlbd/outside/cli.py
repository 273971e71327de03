"""The command line: verbs, and `run`'s options derived from the settings. It parses and does nothing else."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, NoReturn

from .. import __version__
from ..errors import MEANING, ExitCode, Refusal
from ..settings import COMMAND_LINE, Settings, Source, extra, flag_of, in_toml, nearest
from .access import ROLES
from .verbs import VERBS, complete

_ABOUT = """\
7lbd gives you an isolated desktop (Windows, as a rule) on this node: a read-only image, your own files,
no network, and nothing left behind.

Without a verb, `run` is meant: apptainer run 7lbd.sif --image win11
"""


class Parser(argparse.ArgumentParser):
    """argparse, with a refusal in place of a page of usage."""

    def error(self, message: str) -> NoReturn:
        raise Refusal(ExitCode.USAGE, f"command line: {message}", hint=f"{self.prog} --help")

    def refuse(self, word: str) -> NoReturn:
        """Refuse a word that nobody asked for, with the nearest option."""
        known = [flag for action in self._actions for flag in action.option_strings]
        self.error(f"`{word}` is not an option of {self.prog}{nearest(word, known)}")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The verb and its options. Raises Refusal when they are wrong."""
    words = complete(arguments)
    parser, verbs = build()
    if words[0] not in VERBS and not words[0].startswith("-"):
        parser.error(f"`{words[0]}` is not a verb{nearest(words[0], VERBS)}; there are {', '.join(VERBS)}")
    options, unknown = parser.parse_known_args(words)
    if unknown:
        verbs[options.verb].refuse(unknown[0].partition("=")[0])
    return options


def source(options: argparse.Namespace) -> Source:
    """The settings that the command line names."""
    given = vars(options)
    return Source(COMMAND_LINE, {name: given[name] for name in Settings.model_fields if given.get(name) is not None})


def build() -> tuple[Parser, dict[str, Parser]]:
    """The parser, and that of each verb."""
    parser = Parser(
        prog="7lbd",
        description=_ABOUT,
        epilog=exit_codes(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"7lbd {__version__}")
    verbs = parser.add_subparsers(title="verbs", dest="verb", metavar="VERB", required=True)
    _run(verbs)
    _session_verbs(verbs)
    _node_verbs(verbs)
    return parser, verbs.choices


def _run(verbs: Any) -> None:
    run = _verb(verbs, "run", "start a desktop and stay with it until it ends")
    for name in Settings.model_fields:
        if not extra(name)["site"]:
            option(run, name)
    form = "what a portal's form asks for, checked against the site's table [ondemand]"
    run.add_argument("--form", metavar="FILE", default="", help=form)


def option(parser: argparse._ActionsContainer, name: str) -> None:
    """One setting as an option. Values stay text here: the settings model checks them all in one place."""
    field = Settings.model_fields[name]
    flag = flag_of(name)
    keywords: dict[str, Any] = {"dest": name, "default": None, "help": _help(name)}
    if field.annotation is bool:
        parser.add_argument(flag, action=argparse.BooleanOptionalAction, **keywords)
    elif field.annotation is not None and str(field.annotation).startswith("tuple"):
        parser.add_argument(flag, action="append", metavar=extra(name)["metavar"], **keywords)
    elif isinstance(field.annotation, type) and issubclass(field.annotation, StrEnum):
        parser.add_argument(flag, choices=[str(choice) for choice in field.annotation], **keywords)
    else:
        parser.add_argument(flag, metavar=extra(name)["metavar"] or "VALUE", **keywords)


def _help(name: str) -> str:
    field = Settings.model_fields[name]
    hidden = field.annotation is bool or field.default in ("", (), 0)
    shown = "" if hidden else f" (default: {json.loads(in_toml(name, field.default))})"
    return (str(field.description) + shown).replace("%", "%%")


def _session_verbs(verbs: Any) -> None:
    status = _verb(verbs, "status", "show your sessions, on this node and on others")
    status.add_argument("--json", action="store_true", help="as JSON")
    stop = _verb(verbs, "stop", "shut a desktop down in order")
    stop.add_argument("--now", action="store_true", help="switch it off without waiting for the guest")
    connect = _verb(verbs, "connect", "show how to reach a desktop, and write its .rdp file")
    only = connect.add_mutually_exclusive_group()
    only.add_argument("--password", action="store_true", help="print only the password")
    only.add_argument(
        "--url",
        nargs="?",
        const=ROLES[0],
        choices=ROLES,
        help="print only the page's link with its key: desktop opens all, the others no more than they say",
    )
    only.add_argument(
        "--renew",
        action="store_true",
        help="change all locks: old links, client bundles and open windows are worth nothing from then on",
    )
    only.add_argument(
        "--client",
        nargs="?",
        const="",
        metavar="DIR",
        help="write the client's bundle for RDP over mutual TLS, once (default: 7lbd-ID-client)",
    )
    connect.add_argument(
        "--rdp", metavar="FILE", default="", help="where to write the .rdp file (default: 7lbd-ID.rdp)"
    )
    for parser in (status, stop, connect):
        parser.add_argument(
            "session", nargs="?", default="", help="the session's id; not needed when you have only one"
        )
        for name in ("session_dir", "state_dir"):
            option(parser, name)


def _node_verbs(verbs: Any) -> None:
    # Its own verbs are in `imaging.cli`, which is asked before this parser.
    _verb(verbs, "image", "keep golden images: add, sign, publish, warm, maintain ...")
    # These two have theirs in `cluster.cli`.
    _verb(verbs, "submit", "have the scheduler start a desktop, follow it until it is ready, show how to connect")
    _verb(verbs, "render", "write a job script, an Open OnDemand app, a site's settings file, or the `7lbd` command")
    doctor = _verb(verbs, "doctor", "check whether this node can run a desktop, and what would mend it")
    doctor.add_argument("--json", action="store_true", help="as JSON")
    doctor.add_argument(
        "--site",
        action="store_true",
        help="check the site's settings file, too: every key, and what it names, from here",
    )
    for name in ("image", "memory", "session_dir", "min_space"):
        option(doctor, name)
    config = _verb(verbs, "config", "show the settings in force")
    config.add_argument(
        "--explain", action="store_true", help="with the meaning of each, where its value comes from, and how to set it"
    )
    collect = _verb(verbs, "gc", "remove what dead sessions left on this node")
    collect.add_argument("--all", action="store_true", help="also the kept logs of failed sessions")
    for name in ("session_dir", "state_dir"):
        option(collect, name)
    version = _verb(verbs, "version", "print the version of the appliance")
    version.add_argument(
        "--all", action="store_true", help="with what it was built from: every package and its version, as JSON"
    )


def _verb(verbs: Any, name: str, about: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(
        name, help=about, description=about[0].upper() + about[1:] + ".", allow_abbrev=False
    )
    return parser


def exit_codes() -> str:
    """All exit codes, for the end of a help text."""
    return "exit codes:\n" + "\n".join(f"  {code.value:>3}  {meaning}" for code, meaning in MEANING.items())
