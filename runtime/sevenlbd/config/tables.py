"""What the site file's tables are made of: kinds of keys, and how a wrong one is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from ..base.errors import ExitCode, Refusal
from .settings import Settings, in_words, nearest
from .value_kinds import Words
from .value_kinds import written as plainly_written

_NAME = re.compile(r"[A-Za-z0-9_.,+-]*")


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError("a name has letters, digits and _ . + -; several are separated by commas")
    return value


def _one_line(value: str) -> str:
    if not value.isprintable():
        raise ValueError("it must be one line of printable characters")
    return value


def _place(value: str) -> str:
    if value and not value.startswith("/"):
        raise ValueError("it must be a path from the root")
    return _one_line(value)


def _lines(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(_one_line(value) for value in values)


def _options(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in _lines(values):
        if not value.startswith("-"):
            raise ValueError("each is an option of sbatch, for instance `--gres=gpu:1`")
    return values


def _binds(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in _lines(values):
        if not value.startswith("/") or "," in value:
            raise ValueError("each is a path from the root, as `apptainer run --bind` takes it, without a comma")
    return values


Name = Annotated[str, AfterValidator(_name)]
Line = Annotated[str, AfterValidator(_one_line)]
Place = Annotated[str, AfterValidator(_place)]
Lines = Annotated[Words, AfterValidator(_lines)]
Options = Annotated[Words, AfterValidator(_options)]
Binds = Annotated[Words, AfterValidator(_binds)]


def key(default: Any, description: str, *, metavar: str = "", **limits: Any) -> Any:
    """A key's one declaration; `metavar` says what it takes, as with settings."""
    return Field(default=default, description=description, json_schema_extra={"metavar": metavar}, **limits)


class Table(BaseModel):
    """What all tables have in common: nothing in them is guessed."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def checked[T: Table](kind: type[T], name: str, values: object, file: Path | None) -> T:
    """A table of the site's file. Raises Refusal that names the key."""
    if not isinstance(values, dict):
        raise Refusal(ExitCode.USAGE, f"{file}: `{name}` is a table", hint=f"write [{name}] and its keys below it")
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise _refusal(kind, name, file, error.errors()[0]) from None


def sifted[T: Table](kind: type[T], name: str, values: object, file: Path | None) -> tuple[T, list[Refusal]]:
    """What of a table is right, and a refusal for each key that is not, in the order of the file."""
    left = dict(values) if isinstance(values, dict) else {}
    wrong: list[Refusal] = []
    try:
        return checked(kind, name, values, file), wrong
    except Refusal as refusal:
        if values != left:  # it is no table at all
            return kind(), [refusal]
    while mistakes := _mistakes(kind, left):
        wrong += [_refusal(kind, name, file, mistake) for mistake in mistakes]
        bad = {mistake["loc"][0] for mistake in mistakes if mistake["loc"]}
        left = {key: value for key, value in left.items() if key not in bad} if bad else {}
    return kind.model_validate(left), wrong


def _mistakes(kind: type[Table], values: Mapping[str, object]) -> list[ErrorDetails]:
    """Keys that do not fit together are told when each by itself is right."""
    try:
        kind.model_validate(values)
    except ValidationError as error:
        order = list(values)
        return sorted(error.errors(), key=lambda mistake: order.index(str(mistake["loc"][0])) if mistake["loc"] else 0)
    return []


def _refusal(kind: type[Table], name: str, file: Path | None, mistake: ErrorDetails) -> Refusal:
    message, keys = in_words(mistake["msg"]), [str(part) for part in mistake["loc"]]
    listed = f"its keys are {', '.join(kind.model_fields)}"
    if not keys:  # it is the keys together that do not fit
        return Refusal(ExitCode.USAGE, f"{file}: [{name}] {message}", hint=listed)
    top = kind.model_fields.get(keys[0])
    about = f"{keys[0]}: {top.description}" if top else listed
    if mistake["type"] == "extra_forbidden":
        guess = nearest(keys[0], kind.model_fields) if len(keys) == 1 else ""
        if len(keys) == 1 and keys[0] in Settings.model_fields:
            guess = "; as a setting it must stand above the first [table]"
        what = f"{file}: [{name}] `{'.'.join(keys)}` is not a key of this table{guess}"
        return Refusal(ExitCode.USAGE, what, hint=about)
    value = json.dumps(mistake["input"], default=str, ensure_ascii=False)
    return Refusal(ExitCode.USAGE, f"{file}: [{name}] `{'.'.join(keys)}` = {value}: {message}", hint=about)


def written(value: object, kind: str = "") -> str:
    """A value as it stands in the site's file; a table of its own in one line, without what is empty."""
    if isinstance(value, Table):
        pairs = [(name, field) for name, field in type(value).model_fields.items() if getattr(value, name)]
        return (
            "{" + ", ".join(f"{name} = {written(getattr(value, name), metavar(field))}" for name, field in pairs) + "}"
        )
    if isinstance(value, list | tuple):
        return "[" + ", ".join(written(item, kind) for item in value) + "]"
    return plainly_written(value, kind)


def metavar(field: FieldInfo) -> str:
    """What a key takes."""
    return str(field.json_schema_extra["metavar"]) if isinstance(field.json_schema_extra, dict) else ""
