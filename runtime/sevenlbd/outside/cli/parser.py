"""How a verb's words become settings: a parser that refuses, and settings as its options."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import textwrap
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Any, NoReturn

from ...base.errors import ExitCode, Refusal
from ...config.merging import COMMAND_LINE, Source
from ...config.settings import Settings, extra, flag_of, in_toml, nearest

_FEW = 4  # as many options as fit the first line beside the verb
_LEAST_WIDTH = 11  # columns, as argparse has it, however narrow the terminal says that it is
# Of a line of a table: `  130  Ctrl-C`.
_FIRST_COLUMN = re.compile(r"  +\S+  +")


class Page(argparse.HelpFormatter):
    """argparse's page of help, which keeps the paragraphs and tables of what we wrote, and wraps them.

    More options than a few are left out of the first lines: below they stand with what they mean.
    """

    def add_usage(self, usage: str | None, actions: Iterable[argparse.Action], *others: Any) -> None:
        """argparse's method."""
        actions = list(actions)
        named = [action for action in actions if not action.option_strings or action.required]
        if usage is None and len(actions) - len(named) > _FEW:
            usage = self._short_usage(named)
        super().add_usage(usage, actions, *others)

    def _short_usage(self, named: Iterable[argparse.Action]) -> str:
        parts = [*self._prog.split(), "[OPTION ...]", *(self._format_actions_usage([action], []) for action in named)]
        # No part is torn.
        line = " ".join(part.replace(" ", "\0") for part in parts).replace("%", "%%")
        width = max(self._width - len("usage: "), _LEAST_WIDTH)
        return textwrap.fill(line, width, subsequent_indent="    ", break_on_hyphens=False).replace("\0", " ")

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        """argparse's method."""
        return "\n".join(_wrapped(part, width, indent) for part in _parts(text)).rstrip()

    def _split_lines(self, text: str, width: int) -> list[str]:
        """argparse's method. A word with a hyphen, an option say, stays whole."""
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)


def _parts(text: str) -> Iterator[str]:
    """Paragraphs, the empty lines between them, and each line of a table by itself."""
    lines: list[str] = []
    for line in [*text.splitlines(), ""]:
        if line.strip() and not line.startswith("  "):
            lines.append(line)
            continue
        if lines:
            yield " ".join(lines)
            lines = []
        yield line


def _wrapped(part: str, width: int, indent: str) -> str:
    column = _FIRST_COLUMN.match(part)
    head = column[0] if column else ""
    words = " ".join(part.removeprefix(head).split())
    hanging = indent + " " * len(head)
    return textwrap.fill(words, width, initial_indent=indent + head, subsequent_indent=hanging, break_on_hyphens=False)


class Parser(argparse.ArgumentParser):
    """argparse, with a refusal in place of a page of usage."""

    def __init__(self, **words: Any) -> None:
        super().__init__(**({"formatter_class": Page} | words))

    def error(self, message: str) -> NoReturn:
        raise Refusal(ExitCode.USAGE, f"command line: {message}", hint=f"{self.prog} --help")

    def refuse(self, argument: str) -> NoReturn:
        """Refuse a word that nobody asked for, with the nearest option, or with what it may be the value of."""
        known = [flag for action in self._actions for flag in action.option_strings]
        takes_words = any(not action.option_strings for action in self._actions)
        if "--image" in known and not takes_words and not argument.startswith("-"):
            what = f"command line: `{argument}` is not an option of {self.prog}"
            hint = f"if it is the image: {self.prog} --image {shlex.quote(argument)}; else {self.prog} --help"
            raise Refusal(ExitCode.USAGE, what, hint=hint)
        self.error(f"`{argument}` is not an option of {self.prog}{nearest(argument, known)}")


def options(parser: argparse._ActionsContainer, *names: str) -> None:
    """Some settings as options."""
    for name in names:
        option(parser, name)


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
        choices = [str(choice) for choice in field.annotation]
        parser.add_argument(flag, choices=choices, metavar=extra(name)["metavar"] or None, **keywords)
    else:
        parser.add_argument(flag, metavar=extra(name)["metavar"] or "VALUE", **keywords)


def _help(name: str) -> str:
    field = Settings.model_fields[name]
    hidden = field.annotation is bool or field.default in ("", (), 0)
    shown = "" if hidden else f" (default: {json.loads(in_toml(name, field.default))})"
    return (str(field.description) + shown).replace("%", "%%")


def source(options: argparse.Namespace) -> Source:
    """The settings that the command line names."""
    given = vars(options)
    return Source(COMMAND_LINE, {name: given[name] for name in Settings.model_fields if given.get(name) is not None})
