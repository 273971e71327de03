"""The settings of all sources become one, and what is wrong is told with its source.

Order: command line, `SEVENLBD_*`, the user's TOML, the site's TOML, the default. A setting that the site lists in
`locked` can be changed by nobody else. This module knows no file's place and prints nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from ..base.errors import ExitCode, Refusal
from .settings import PREFIX, TABLES, Settings, extra, flag_of, in_words, nearest, tables_of
from .value_kinds import parse_list

COMMAND_LINE, ENVIRONMENT = "command line", "environment"


@dataclass(frozen=True)
class Source:
    """Where values come from: a name to show, and raw values by setting."""

    name: str
    values: Mapping[str, object]
    trusted: bool = False
    """True for the site's own file: it alone may set what it locks."""


@dataclass(frozen=True)
class Loaded:
    """The settings, and for each the name of the source that gave it."""

    settings: Settings
    origin: Mapping[str, str]


def from_environment(environment: Mapping[str, str]) -> Source:
    """The settings among `SEVENLBD_*`. Raises Refusal for one that does not exist."""
    variables = {name: value for name, value in environment.items() if name.startswith(PREFIX)}
    values = {name.removeprefix(PREFIX).lower(): value for name, value in variables.items()}
    _refuse_unknown(values, "the environment", lambda name: PREFIX + name.upper())
    return Source(ENVIRONMENT, values)


def from_table(values: Mapping[str, object], where: str, *, trusted: bool) -> Source:
    """The settings of a TOML file, without its tables. Raises Refusal for a key that does not exist."""
    for name in tables_of(values):
        what = f"{where}: the table [{name}] is for the site's settings file only"
        raise Refusal(ExitCode.USAGE, what, hint="leave it out, or ask the site")
    _refuse_unknown(values, where, str, TABLES if trusted else ())
    return Source(where, values, trusted)


def _refuse_unknown(values: Mapping[str, object], where: str, spelling: Any, more: tuple[str, ...] = ()) -> None:
    for name in values:
        if name not in Settings.model_fields:
            guess = nearest(name, [*Settings.model_fields, *more])
            raise Refusal(
                ExitCode.USAGE,
                f"{where}: `{spelling(name)}` is not a setting{guess}",
                hint="7lbd config --explain lists every setting",
            )


def load(sources: Iterable[Source]) -> Loaded:
    """Merge `sources`, strongest first. Raises Refusal for a locked setting or a wrong value."""
    values: dict[str, object] = {}
    origin: dict[str, str] = dict.fromkeys(Settings.model_fields, "default")
    ordered = list(sources)
    locked = {name for source in ordered if source.trusted for name in _locked_by(source)}
    for source in ordered:
        for name, value in source.values.items():
            if (name in locked or extra(name)["site"]) and not source.trusted:
                raise Refusal(
                    ExitCode.USAGE,
                    f"{source.name}: `{_spelt(name, source.name)}` is for the site's settings file only",
                    hint="leave it out, or ask the site",
                )
            if name not in values:
                values[name], origin[name] = value, source.name
    return Loaded(_validated(values, origin), origin)


def _locked_by(source: Source) -> Iterator[str]:
    """What a source locks. A lock that locks nothing, because of a typing mistake, must not go unseen."""
    names = parse_list(source.values.get("locked", ()))
    for name in names if isinstance(names, list | tuple) else ():
        if name not in Settings.model_fields:
            raise Refusal(
                ExitCode.USAGE,
                f"{source.name}: `locked` names `{name}`, which is not a setting"
                + nearest(str(name), Settings.model_fields),
                hint="7lbd config --explain lists every setting",
            )
        yield name


def _spelt(name: str, source: str) -> str:
    """A setting as one writes it there."""
    if source == COMMAND_LINE:
        return flag_of(name)
    return PREFIX + name.upper() if source == ENVIRONMENT else name


def _validated(values: dict[str, object], origin: Mapping[str, str]) -> Settings:
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        message = in_words(first["msg"])
        where = origin.get(name, "?")
        raise Refusal(
            ExitCode.USAGE,
            f"{where}: `{_spelt(name, where)}` = {json.dumps(first['input'], default=str)}: {message}",
            hint=f"{name}: {Settings.model_fields[name].description}",
        ) from None
