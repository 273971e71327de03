"""How a verb's words become settings: a parser that refuses, and settings as its options."""

from __future__ import annotations

import argparse
import json
from enum import StrEnum
from typing import Any, NoReturn

from ...base.errors import ExitCode, Refusal
from ...config.settings import COMMAND_LINE, Settings, Source, extra, flag_of, in_toml, nearest


class Parser(argparse.ArgumentParser):
    """argparse, with a refusal in place of a page of usage."""

    def error(self, message: str) -> NoReturn:
        raise Refusal(ExitCode.USAGE, f"command line: {message}", hint=f"{self.prog} --help")

    def refuse(self, argument: str) -> NoReturn:
        """Refuse a word that nobody asked for, with the nearest option."""
        known = [flag for action in self._actions for flag in action.option_strings]
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
        parser.add_argument(flag, choices=[str(choice) for choice in field.annotation], **keywords)
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
