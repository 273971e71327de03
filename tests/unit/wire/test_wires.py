"""Every kind of message on every wire: it comes out as it went in, and its other end says it no otherwise."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from typing import Any, get_type_hints

import imports
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sevenlbd.wire import codec
from sevenlbd.wire.codec import Codec
from sevenlbd.wire.forwards import FORWARDS, Forward
from sevenlbd.wire.gateway import (
    INWARDS,
    OUTWARDS,
    Bundle,
    BundleWanted,
    FarewellSaid,
    Front,
    Hello,
    StopPressed,
    SuspendPressed,
)
from sevenlbd.wire.keeper import EVENTS, ORDERS, Event, EventKind, NewCertificates, Notice, Stop
from sevenlbd.wire.packets import MAX_MESSAGE, pair
from sevenlbd.wire.plan import PLANS, Plan
from sevenlbd.wire.state import SessionState

GRAPH = imports.graph()
MODULES = imports.modules()
KINDS: list[tuple[Codec[Any], type[Any]]] = [
    (PLANS, Plan),
    *[(ORDERS, kind) for kind in (Stop, Notice, NewCertificates)],
    *[(INWARDS, kind) for kind in (Front, SessionState, Bundle)],
    *[(OUTWARDS, kind) for kind in (Hello, StopPressed, SuspendPressed, BundleWanted, FarewellSaid)],
]


@pytest.mark.parametrize(("wire", "kind"), KINDS, ids=lambda value: getattr(value, "__name__", ""))
@given(data=st.data())
def test_a_message_comes_out_as_it_went_in(wire: Codec[Any], kind: type[Any], data: st.DataObject) -> None:
    # With what has a default said, too.
    hints = get_type_hints(kind, include_extras=True)
    said = {one.name: data.draw(st.from_type(hints[one.name])) for one in fields(kind)}
    message = kind(**said)
    # As it is written, because not a number is not itself.
    assert repr(wire.unpack(wire.pack(message))) == repr(message)


@given(st.lists(st.from_type(Forward), max_size=5))
def test_forwards_come_out_as_they_went_in(doors: list[Forward]) -> None:
    assert FORWARDS.unpack(FORWARDS.pack(doors)) == tuple(doors)


@pytest.mark.parametrize("kind", EventKind)
def test_an_event_comes_out_as_it_went_in(kind: EventKind) -> None:
    event = Event(kind, "a text", "a hint")
    assert EVENTS.unpack(EVENTS.pack(event)) == event
    assert EVENTS.unpack(EVENTS.pack(event)).kind == kind


@given(st.from_type(Event))
def test_an_event_of_a_strangers_is_harmless(event: Event) -> None:
    found = EVENTS.unpack(EVENTS.pack(event))
    assert all(text.isprintable() and len(text) <= codec.MAX_TEXT for text in (found.kind, found.text, found.hint))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'{"kind": "inside"}', Event("inside")),
        (b'{"kind": 5, "text": ["a"], "hint": null, "more": 1}', Event("5", "['a']", "None")),
        (b'{"text": "inside"}', None),
        (b'["kind"]', None),
    ],
)
def test_what_a_keeper_says_is_believed_as_text_only(data: bytes, expected: Event | None) -> None:
    assert EVENTS.unpack_or_none(data) == expected


def test_what_is_no_forward_is_left_out() -> None:
    rows: list[object] = [
        {"kind": "tcp", "address": "192.0.2.1", "port": 1, "more": 2},
        *({"kind": "tcp", "address": "192.0.2.1", "port": wrong} for wrong in (True, "1", 1.0, None)),
        {"kind": "tcp", "address": 1, "port": 1},
        *(1, None, [], {}),
    ]
    assert FORWARDS.unpack(json.dumps(rows).encode()) == (Forward("tcp", "192.0.2.1", 1),)


@pytest.mark.parametrize("kind", ["front", "state", "notice", "new-certificates", "inside", "renew"])
def test_a_gateway_cannot_say_what_it_is_told(kind: str) -> None:
    assert OUTWARDS.unpack_or_none(json.dumps({"kind": kind, "session": "x", "text": "x"}).encode()) is None


@pytest.mark.parametrize("said", ["yes", 1, None, [], {}, False])
def test_only_true_is_a_stop_at_once(said: object) -> None:
    assert OUTWARDS.unpack(json.dumps({"kind": "stop", "now": said}).encode()) == StopPressed(now=False)
    assert OUTWARDS.unpack(b'{"kind": "stop", "now": true}') == StopPressed(now=True)


def test_the_longest_message_fits_a_packet() -> None:
    ours, theirs = pair()
    with ours, theirs:
        ours.settimeout(5)
        ours.send(b"x" * MAX_MESSAGE)
        assert len(theirs.recv(2 * MAX_MESSAGE)) == MAX_MESSAGE


def test_nobody_at_a_wires_end_writes_json_by_hand() -> None:
    """Who speaks by the codec writes other JSON only for who is at the end of none of our wires."""
    ends = {"wire.packets"} | {name for name, found in GRAPH.items() if "wire.codec" in {one.target for one in found}}
    speaking = {name for name, found in GRAPH.items() if ends & {one.target for one in found}}
    by_hand = {name for name in speaking if re.search(r"\bjson\.(loads?|dumps?)\(", MODULES[name].read_text())}
    assert by_hand == {
        "inside.gateway.api",  # what a browser sends and gets
        "inside.vm.qemu",  # QEMU's command line
        "outside.ondemand.app_files",  # what the portal's Ruby reads as a literal
        "outside.access.tls_files",  # what the maker of certificates is asked, on its standard input
        "outside.egress.relay.pac",  # a page in JavaScript
        "outside.grid.coordinator.owner_asking",  # what any program of this machine may answer
        "outside.grid.coordinator.vm_sessions",  # the file that `run --join` reads
    }
