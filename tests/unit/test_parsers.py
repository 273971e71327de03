"""Every parser of foreign bytes keeps its promise: what was found, what is kept, and a short round of made-up inputs.

A long round, guided by coverage: docs/harness.md.
"""

from __future__ import annotations

import random
import time
from typing import Any

import pytest
from sevenlbd.inside.gateway import ahead, api, desktop, late_input
from sevenlbd.wire.codec import Codec

from tests.fuzz import grid_targets, message_targets
from tests.fuzz.all_targets import TARGETS
from tests.fuzz.run import KEPT, Piece, table

INPUTS = 100
SECONDS = 5.0
"""For one input, on a machine that does other work."""


def made_up(known: bytes, drawn: random.Random, longest: int) -> bytes:
    """A neighbour of an input: some bytes are others, doubled, or gone."""
    data = bytearray(known)
    for _ in range(drawn.randrange(1, 5)):
        at = drawn.randrange(len(data) + 1)
        match drawn.randrange(4):
            case 0:
                data[at : at + 1] = bytes([drawn.randrange(256)])
            case 1:
                del data[at : at + drawn.randrange(1, 9)]
            case 2:
                data[at:at] = data[at : at + drawn.randrange(1, 9)]
            case _:
                data[at : at + 4] = drawn.choice((b"\xff" * 4, b"\0" * 4, b"\0\0\0\x80", b"99999999"))
    return bytes(data[:longest])


@pytest.mark.parametrize("name", TARGETS)
def test_a_parser_refuses_in_its_own_words_and_in_time(name: str) -> None:
    target = TARGETS[name]
    parse = target.made()
    kept = [path.read_bytes() for path in sorted((KEPT / name).glob("*"))]
    known = [*target.seeds(), *kept]
    drawn = random.Random(7)
    for data in (*known, b"", *(made_up(drawn.choice(known), drawn, target.longest) for _ in range(INPUTS))):
        began = time.monotonic()
        parse(data)
        assert time.monotonic() - began < SECONDS, data[:200]


@pytest.mark.parametrize(
    ("name", "codecs"), [("wire", message_targets._WIRES), ("grid-records", grid_targets._RECORDS)]
)
def test_the_search_begins_with_a_valid_message_of_every_codec(name: str, codecs: tuple[Codec[Any], ...]) -> None:
    begun = {seed[0] for seed in TARGETS[name].seeds() if codecs[seed[0] % len(codecs)].unpack_or_none(seed[1:])}
    assert begun >= set(range(len(codecs)))


def test_what_only_those_may_say_who_have_logged_in_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    reached: set[str] = set()

    def spied(module: Any, name: str) -> None:
        real = getattr(module, name)

        def spy(*words: Any) -> Any:
            reached.add(name)
            return real(*words)

        monkeypatch.setattr(module, name, spy)

    for module, name in ((ahead, "said"), (api, "_check_age"), (desktop, "begin")):
        spied(module, name)
    for name in ("rdp", "rfb"):
        spied(late_input, name)
    target = TARGETS["http-entered"]
    parse = target.made()
    for seed in target.seeds():
        parse(seed)
    assert reached == {"said", "_check_age", "begin", "rdp", "rfb"}


def test_pieces_of_a_long_run_add_up() -> None:
    pieces = [
        Piece("wire", "2026-01-01", 1, 1000, 60.0, 7, ()),
        Piece("wire", "2026-01-02", 2, 2500, 30.0, 9, ("found",)),
    ]
    lines = table(pieces).splitlines()
    assert lines[-1] == "| all | 3,500 | 1.5 | 9 | 1 | 2026-01-01 to 2026-01-02 |"
