"""A valid message of every type that a codec reads, made from its fields' types: what a wire's search begins with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import StrEnum
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from sevenlbd.wire.codec import Codec, Tagged

_PLAIN: dict[type, object] = {int: 1, float: 1.5, bool: True, bytes: b"x"}


Words = Mapping[str, str]
"""Texts of fields that take no other, by `Class.field`."""


def chosen_by_first_byte(codecs: Sequence[Codec[Any]], words: Words | None = None) -> tuple[bytes, ...]:
    """Of every codec of a row, as a target reads them: the first byte is the codec's number."""
    return tuple(
        bytes([number]) + message for number, codec in enumerate(codecs) for message in packed(codec, words or {})
    )


def packed(codec: Codec[Any], words: Words) -> Iterator[bytes]:
    """One message of each kind, with all of its fields, those included that may be left out."""
    for kind in codec._kinds.values() if isinstance(codec, Tagged) else (codec._kind,):
        yield codec.pack(_made(kind, words))


def _made(kind: Any, words: Words, name: str = "") -> Any:
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _made(parts[0], words, name)
    if origin in (Union, UnionType):
        return _made(next(part for part in parts if part is not NoneType), words, name)
    if origin in (tuple, list):
        return origin(_made(part, words, name) for part in parts if part is not Ellipsis)
    if origin is dict:
        return {"x": _made(parts[1], words)}
    if isinstance(kind, type) and is_dataclass(kind):
        types = get_type_hints(kind, include_extras=True)
        return kind(**{one.name: _made(types[one.name], words, f"{kind.__name__}.{one.name}") for one in fields(kind)})
    if issubclass(kind, StrEnum):
        return next(iter(kind))
    return words.get(name, "x") if kind is str else _PLAIN[kind]
