"""How a message is written down: a frozen dataclass as JSON, read back by the types of its fields, and in no other way.

What comes in may be hostile: a broken-out guest could be the one who writes. So a message is exactly what its class
says, or `Malformed`; whatever else stands in it is passed over. How many bytes there may be is up to whoever receives.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import StrEnum
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from ..base.errors import visible

MAX_TEXT = 4096
"""Characters of a text that is shown to people."""
_TAG = "kind"

_PRINTABLE, _LENIENT, _SIEVED = object(), object(), object()
_Said = TypeVar("_Said")
Printable = Annotated[str, _PRINTABLE]
"""A text for people, from inside: whatever was said, on one line, bounded, harmless for a terminal."""
Lenient = Annotated[_Said, _LENIENT]
"""What is not of the type counts as not said: the field's default stands."""
Sieved = Annotated[_Said, _SIEVED]
"""A row: what in it is not of the type is left out."""


class Malformed(ValueError):
    """This is no such message. Says where, and nothing of what stood there: it may be a password."""


class Codec[T]:
    """Messages of one type."""

    def __init__(self, kind: Any) -> None:
        """`kind` is a dataclass, or a row of them."""
        self._kind = kind

    def pack(self, message: T) -> bytes:
        """The message in bytes."""
        return pack(message)

    def unpack(self, data: bytes) -> T:
        """The message that was packed. Raises Malformed."""
        return self._read(_parsed(data))

    def unpack_or_none(self, data: bytes) -> T | None:
        """The same from a stranger; None for what is no message."""
        try:
            return self.unpack(data)
        except Malformed:
            return None

    def _read(self, value: object) -> T:
        message: T = _read(self._kind, value)
        return message


class Tagged[T](Codec[T]):
    """Messages of several types: each says its name as its `kind`."""

    def __init__(self, kinds: Mapping[str, type[T]]) -> None:
        super().__init__(None)
        self._kinds = dict(kinds)
        self._names = {kind: name for name, kind in kinds.items()}

    def pack(self, message: T) -> bytes:
        """The message in bytes, with its name."""
        return pack({_TAG: self._names[type(message)], **_members(message)})

    def _read(self, value: object) -> T:
        name = value.get(_TAG) if isinstance(value, dict) else None
        kind = self._kinds.get(name) if isinstance(name, str) else None
        if kind is None:
            raise Malformed("a message of no kind that is known here")
        message: T = _read(kind, value)
        return message


def pack(message: object) -> bytes:
    """As every codec writes it."""
    return json.dumps(message, default=_plain).encode()


def _plain(value: object) -> object:
    """What JSON has no word for."""
    return base64.b64encode(value).decode() if isinstance(value, bytes) else _members(value)


def _members(message: Any) -> dict[str, object]:
    return {one.name: getattr(message, one.name) for one in fields(message)}


def _parsed(data: bytes) -> object:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise Malformed("not JSON") from None


def _read(kind: Any, value: object, *, sieved: bool = False) -> Any:
    """`value` as a `kind`. Raises Malformed."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _printable(value) if _PRINTABLE in parts else _read(parts[0], value, sieved=_SIEVED in parts)
    if origin in (Union, UnionType):
        return None if value is None else _read(_but_none(parts), value)
    if origin in (tuple, list):
        return origin(_row(parts, value, sieved=sieved))
    if origin is dict:
        return _table(parts, value)
    if is_dataclass(kind):
        return _dataclass(kind, value)
    return _scalar(kind, value)


def _printable(value: object) -> str:
    try:
        return visible(" ".join(str(value)[:MAX_TEXT].split("\n")))[:MAX_TEXT]
    except RecursionError:
        raise Malformed("a text that is none") from None


def _but_none(parts: tuple[Any, ...]) -> Any:
    """The one type that an optional field has."""
    (kind,) = (part for part in parts if part is not NoneType)
    return kind


def _row(kinds: tuple[Any, ...], value: object, *, sieved: bool) -> Iterator[Any]:
    """`list[X]` and `tuple[X, ...]` are of any length, `tuple[X, Y]` is of its own."""
    if not isinstance(value, list):
        raise Malformed("a row is none")
    if len(kinds) == 1 or kinds[-1] is Ellipsis:
        kinds = kinds[:1] * len(value)
    if len(kinds) != len(value):
        raise Malformed("a row is too long or too short")
    for kind, one in zip(kinds, value, strict=True):
        try:
            yield _read(kind, one)
        except Malformed:
            if not sieved:
                raise


def _table(kinds: tuple[Any, ...], value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Malformed("a table is none")
    return {name: _read(kinds[1], one) for name, one in value.items()}


def _dataclass(kind: Any, value: object) -> Any:
    if not isinstance(value, dict):
        raise Malformed(f"{kind.__name__} is no object")
    types, needed = _fields(kind)
    values = {}
    for name in types.keys() & value.keys():
        try:
            values[name] = _read(types[name], value[name])
        except Malformed as error:
            if _LENIENT not in get_args(types[name]):
                raise Malformed(f"{kind.__name__}, {name}: {error}") from None
    if missing := needed - values.keys():
        raise Malformed(f"{kind.__name__} without {', '.join(sorted(missing))}")
    return kind(**values)


@cache
def _fields(kind: type) -> tuple[dict[str, Any], frozenset[str]]:
    """The types of a dataclass's fields, and those that have to be said."""
    needed = (one.name for one in fields(kind) if one.default is MISSING and one.default_factory is MISSING)
    return get_type_hints(kind, include_extras=True), frozenset(needed)


def _scalar(kind: Any, value: object) -> object:
    """A float may be written without a fraction; a number is no truth value, nor the other way round."""
    if type(value) is kind:
        return value
    if kind is float and type(value) is int:
        return _float(value)
    if isinstance(value, str):
        try:
            if kind is bytes:
                return base64.b64decode(value, validate=True)
            if issubclass(kind, StrEnum):
                return kind(value)
        except ValueError:
            pass
    raise Malformed(f"no {kind.__name__}")


def _float(value: int) -> float:
    """Whoever reckons with it is told of no number that no float has."""
    try:
        return float(value)
    except OverflowError:
        raise Malformed("no float") from None
