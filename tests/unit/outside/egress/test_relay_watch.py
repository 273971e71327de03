"""The supervisor's side of the relay's word: told once, shown while it lasts, and never trusted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

import pytest
from egress_world import live, until
from hypothesis import given
from hypothesis import strategies as st
from sevenlbd.outside.egress import relay_watch
from sevenlbd.outside.egress.relay.allowed import Allowed
from sevenlbd.outside.egress.relay.lines import LINES, Beat, Caution, Line, Summary, Trouble
from sevenlbd.outside.egress.relay_report import Reported


def beat(state: Reported, met: Sequence[object] = (), down: Sequence[object] = ()) -> None:
    state.hear(json.dumps({"kind": "beat", "met": met, "down": down}).encode())


@pytest.mark.parametrize(
    "line",
    [b"x", b"[" * 100_000, b"null", b"{}", b'{"kind": 3}', b'{"kind": "beat"}',
     b'{"kind": "beat", "met": "x", "down": 1}',
     b'{"kind": "trouble", "text": []}', b'{"kind": "warning", "text": null}', b'{"kind": "told", "text": "x"}',
     b'{"kind": "summary", "connections": "1", "refused": 0, "up": 0, "down": 0}',
     b'{"kind": "summary", "connections": true, "refused": 0, "up": 0, "down": 0}',
     b'{"kind": "summary", "connections": 1, "refused": 0, "up": 0}'],
)  # fmt: skip
def test_what_is_no_word_of_a_relays_changes_nothing(line: bytes) -> None:
    state = Reported()
    state.hear(line)
    assert (state.beats, state.trouble, state.down, state.summary, list(state.warnings)) == (0, "", (), None, [])


@given(st.from_type(Beat) | st.from_type(Trouble) | st.from_type(Caution) | st.from_type(Summary))
def test_a_line_comes_out_as_it_went_in(line: Line) -> None:
    assert LINES.unpack(LINES.pack(line)) == line


def test_its_texts_are_few_short_and_harmless() -> None:
    state = Reported()
    beat(state, ["x", 1, None], ["\x1b[2J" + "y" * 1000, 7, *("z" for _ in range(1000))])
    for _ in range(100):
        state.hear(LINES.pack(Caution("\n\x1b" + "w" * 1000)))
    assert len(state.down) < 20
    assert max(map(len, state.down)) < 900
    assert len(state.warnings) < 10
    assert all(text.isprintable() for text in (*state.down, *state.warnings))


def test_the_last_sums_count() -> None:
    state = Reported()
    for number in (1, 2):
        state.hear(LINES.pack(Summary(number, 0, 0, 0)))
    assert state.summary == Summary(2, 0, 0, 0)


@live
async def test_a_limit_is_told_once_and_a_server_while_it_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_watch, "_LOOK_SECONDS", 0.02)
    state, warned, shown = Reported(), list[str](), list[list[str]]()
    limits = relay_watch.limits(Allowed(connections=8))
    watching = asyncio.create_task(
        relay_watch.watch(state, limits, warned.append, lambda wrong: shown.append(list(wrong)))
    )

    async def beats(met: Sequence[object], down: Sequence[object]) -> None:
        for _ in range(10):
            beat(state, met, down)
            await asyncio.sleep(0.02)

    await beats([], [])
    assert (warned, shown) == ([], [])
    await beats(["connections", "of its own making"], ["lic, port 1: refused"])
    await beats(["connections"], ["lic, port 1: refused"])
    await beats(["connections"], [])
    assert [len(wrong) for wrong in shown] == [1, 0]
    assert shown[0][0].startswith("lic, port 1: refused (since ")
    assert warned == [
        "the guest has met a limit of its ways out: all 8 connections were in use (egress_connections), "
        "and more were refused"
    ]
    await until(lambda: len(shown) == 3)
    assert shown[2][0].startswith(relay_watch.STILL)
    beat(state)
    await until(lambda: shown[-1] == [])
    watching.cancel()
