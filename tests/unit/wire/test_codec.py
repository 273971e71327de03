"""The codec: what was packed comes out as it was, and nothing else comes out of anything."""

from __future__ import annotations

import json
from dataclasses import MISSING, dataclass, field, fields
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sevenlbd.outside.egress.relay.dialing import Wish
from sevenlbd.wire.codec import MAX_TEXT, Codec, Lenient, Malformed, Printable, Sieved, Tagged
from sevenlbd.wire.gateway import StopPressed
from sevenlbd.wire.packets import MAX_MESSAGE


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True)
class Inner:
    name: str
    pair: tuple[str, int]


@dataclass(frozen=True)
class Outer:
    count: int
    ratio: float
    colour: Colour
    inner: Inner
    maybe: Inner | None = None
    rows: tuple[Inner, ...] = ()
    names: list[str] = field(default_factory=list)
    table: dict[str, float] = field(default_factory=dict)
    raw: bytes = b""
    flag: Lenient[bool] = False
    text: Printable = ""


@dataclass(frozen=True)
class Empty:
    pass


OUTER = Codec[Outer](Outer)
BOTH = Tagged[Outer | Empty]({"outer": Outer, "empty": Empty})
WHOLE = Outer(
    count=1,
    ratio=0.5,
    colour=Colour.RED,
    inner=Inner("a", ("b", 2)),
    maybe=Inner("c", ("d", 3)),
    rows=(Inner("e", ("f", 4)),),
    names=["g"],
    table={"h": 1},
    raw=b"\0",
)
SAID: dict[str, Any] = json.loads(OUTER.pack(WHOLE))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.from_type(Outer))
def test_what_was_packed_comes_out_as_it_was(message: Outer) -> None:
    found, tagged = OUTER.unpack(OUTER.pack(message)), BOTH.unpack(BOTH.pack(message))
    # A text for people is made so on the way, and not a number is not itself.
    assert repr(found) == repr(tagged)
    for name in ("count", "colour", "inner", "maybe", "rows", "names", "raw", "flag"):
        assert getattr(found, name) == getattr(message, name)
    assert BOTH.unpack(BOTH.pack(Empty())) == Empty()


WRONG: dict[str, list[object]] = {
    "count": [True, 1.0, "1", None, [1], {}],
    "ratio": [True, "0.5", None, [0.5], 10**400],
    "colour": ["blue", 1, None, ["red"], {}],
    "inner": [
        *(None, [], "x", {}, {"name": "a"}, {"name": "a", "pair": ["b"]}),
        *({"name": "a", "pair": wrong} for wrong in (["b", "2"], ["b", 2, 3], "b2", {"b": 2}, None)),
    ],
    "maybe": [0, "", {}, []],
    "rows": [None, {}, "x", [None], [{"name": "a"}]],
    "names": [None, "x", [1], {"x": 1}],
    "table": [None, [], {"x": "1"}, {"x": True}, {"x": -(10**400)}],
    "raw": ["*", "a", 1, None, "ö"],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_wrong_type_anywhere_is_no_message(name: str, value: object) -> None:
    with pytest.raises(Malformed, match=f"Outer, {name}: "):
        OUTER.unpack(json.dumps(SAID | {name: value}).encode())
    assert OUTER.unpack_or_none(json.dumps(SAID | {name: value}).encode()) is None


@pytest.mark.parametrize("name", ["count", "ratio", "colour", "inner"])
def test_what_has_no_default_must_be_said(name: str) -> None:
    with pytest.raises(Malformed, match=f"Outer without {name}"):
        OUTER.unpack(json.dumps({key: value for key, value in SAID.items() if key != name}).encode())


def test_what_is_said_beside_that_is_passed_over() -> None:
    more = SAID | {"__class__": "x", "__init__": 1, "self": {}, "kind": "outer", "": None}
    assert OUTER.unpack(json.dumps(more).encode()) == BOTH.unpack(json.dumps(more).encode()) == WHOLE


@pytest.mark.parametrize("wrong", [1, "yes", None, [], {}, 0])
def test_a_lenient_field_that_is_none_has_its_default(wrong: object) -> None:
    assert OUTER.unpack(json.dumps(SAID | {"flag": wrong}).encode()).flag is False
    assert OUTER.unpack(json.dumps(SAID | {"flag": True}).encode()).flag is True


@given(JSON)
def test_a_text_for_people_is_harmless_whatever_was_said(said: object) -> None:
    text = OUTER.unpack(json.dumps(SAID | {"text": said}).encode()).text
    assert len(text) <= MAX_TEXT
    assert text.isprintable()


def test_what_does_not_belong_in_a_sieved_row_is_left_out() -> None:
    sieved: Codec[tuple[Inner, ...]] = Codec(Sieved[tuple[Inner, ...]])
    good = {"name": "a", "pair": ["b", 2]}
    assert sieved.unpack(json.dumps([1, good, None, {}, {"name": 1}, good]).encode()) == (Inner("a", ("b", 2)),) * 2
    assert sieved.unpack_or_none(b"{}") is None


DEEP = 60_000
HOSTILE = [
    *(b"", b"{", b"\xff\0{", b"null", b"[]", b"{}", b"[1]", b'"outer"', b"NaN", b"-Infinity", b"\xef\xbb\xbf{}"),
    *(b"[" * DEEP, b'{"a":' * DEEP, b"[" * DEEP + b"]" * DEEP, b'{"kind":' + b"[" * DEEP + b"]" * DEEP + b"}"),
    *(b"9" * MAX_MESSAGE, b'{"count": ' + b"9" * 100_000 + b"}", b'"' + b"x" * MAX_MESSAGE + b'"'),
    *(b'{"kind": ["outer"]}', b'{"kind": {"outer": 1}}', b'{"kind": null}', b'{"kind": "other"}', b'{"kind": "Outer"}'),
]


@pytest.mark.parametrize("data", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_packet_is_no_message(data: bytes) -> None:
    for codec in (OUTER, BOTH):
        assert codec.unpack_or_none(data) is None
        with pytest.raises(Malformed) as caught:
            codec.unpack(data)
        assert len(str(caught.value)) < 200


@pytest.mark.parametrize("depth", [100, 500, 900, 990, 5000, DEEP])
def test_a_deep_text_is_a_text_or_no_message(depth: int) -> None:
    deep = json.dumps(SAID | {"text": 0}).replace('"text": 0', f'"text": {"[" * depth}{"]" * depth}').encode()
    found = OUTER.unpack_or_none(deep)
    assert found is None or len(found.text) <= MAX_TEXT


@given(JSON | st.fixed_dictionaries({"kind": st.just("outer"), "count": JSON, "inner": JSON}))
def test_nothing_but_a_message_comes_out(said: object) -> None:
    for codec in (OUTER, BOTH):
        assert codec.unpack_or_none(json.dumps(said).encode()) in (None, Empty())


@given(st.binary(max_size=200))
def test_nothing_comes_out_of_noise(data: bytes) -> None:
    assert OUTER.unpack_or_none(data) is None


def test_what_is_wrong_is_told_without_what_stood_there() -> None:
    with pytest.raises(Malformed) as caught:
        OUTER.unpack(json.dumps(SAID | {"count": "pass-word", "pass-word": 1}).encode())
    assert str(caught.value) == "Outer, count: no int"


def test_each_kind_has_its_own_name() -> None:
    assert json.loads(BOTH.pack(Empty())) == {"kind": "empty"}
    assert BOTH.unpack(b'{"kind": "empty", "count": 1}') == Empty()


def test_what_is_lenient_has_a_default_to_fall_back_on() -> None:
    """Of every message on every wire: else what a stranger leaves out would be wrong, and what it spells wrong not."""
    for kind in (StopPressed, Wish):
        for one in fields(kind):
            assert "Lenient" not in str(one.type) or one.default is not MISSING, f"{kind.__name__}.{one.name}"
