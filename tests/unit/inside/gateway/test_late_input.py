"""Typed blind: what is too old is taken out, but for what lets go; by a clock of the test's own, and over the wire."""

from __future__ import annotations

import time

import pytest
from aiohttp import WSMsgType
from gateway_world import BANNER, World, lived, request_message, until
from hypothesis import given
from hypothesis import strategies as st
from sevenlbd.inside.gateway import late_input
from sevenlbd.inside.gateway.late_input import MOST_SECONDS, Freshness


def pdu(*events: str) -> bytes:
    """[MS-RDPBCGR] 2.2.8.1.2, with the count in its header."""
    body = bytes.fromhex("".join(events))
    return bytes([len(events) << 2, len(body) + 2]) + body


A_DOWN, A_UP = "00 1e", "01 1e"
LETTER_DOWN, LETTER_UP = "80 e4 00", "81 e4 00"
MOVE, CLICK, LET_GO, WHEEL = "20 0008 1000 1000", "20 0090 1000 1000", "20 0010 1000 1000", "20 7802 0000 0000"
BACK, BACK_UP = "40 0180 1000 1000", "40 0100 1000 1000"
SYNC = "62"


@pytest.mark.parametrize("event", [A_DOWN, LETTER_DOWN, MOVE, CLICK, WHEEL, BACK])
def test_a_press_is_taken_out(event: str) -> None:
    assert late_input.rdp(pdu(event)) == b""


@pytest.mark.parametrize("event", [A_UP, LETTER_UP, LET_GO, BACK_UP, SYNC])
def test_what_lets_go_is_left_so_that_nothing_hangs(event: str) -> None:
    kept = late_input.rdp(pdu(MOVE, event, A_DOWN))
    assert kept.endswith(b"\x01" + bytes.fromhex(event))
    assert late_input.rdp(kept) == kept


def test_a_long_header_and_a_count_of_its_own_are_read() -> None:
    events = bytes.fromhex(A_DOWN + A_UP) * 40
    whole = bytes([0, 0x80, len(events) + 4, 80]) + events
    assert late_input.rdp(whole)[4:] == bytes.fromhex(A_UP) * 40


@pytest.mark.parametrize(
    "message", [b"", b"\0", b"\0\x80\3", bytes.fromhex("0300000702f080"), pdu(A_DOWN) + b"x", pdu("e0")]
)
def test_what_is_no_whole_input_is_left_alone(message: bytes) -> None:
    assert late_input.rdp(message) == message


def test_a_consoles_presses_are_taken_out() -> None:
    down, up = bytes.fromhex("0401000000000061"), bytes.fromhex("0400000000000061")
    click, move = bytes.fromhex("050100100010"), bytes.fromhex("050000100010")
    qemu = bytes.fromhex("ff000001000000610000001e")
    assert late_input.rfb(down + qemu + up + click + move) == up + move
    asks_for_picture = bytes.fromhex("03010000000004000300")
    assert late_input.rfb(asks_for_picture) == asks_for_picture


@given(st.binary(max_size=64))
def test_whatever_comes_is_shortened_or_left(message: bytes) -> None:
    for sieve in (late_input.rdp, late_input.rfb):
        assert len(sieve(message)) <= len(message) + 2  # a header may become the long one


def test_only_who_repeats_our_time_is_doubted() -> None:
    now = [1000.0]
    fresh = Freshness(lambda: now[0])
    assert not fresh.late
    assert fresh.repeated("1000.0")
    now[0] += MOST_SECONDS
    assert not fresh.late
    now[0] += 0.1
    assert fresh.late
    assert fresh.repeated("1005")
    assert not fresh.late
    assert not fresh.repeated("hello")
    assert not fresh.repeated("inf")
    assert not fresh.repeated("١٠٠٥"), "digits, but none of ours"


@lived()
async def test_a_time_that_is_repeated_is_given_back_on_the_same_line(world: World) -> None:
    """So a page hears that this line lives; others to the session may, where it does not."""
    async with world.console() as console, world.desktop() as desktop:
        assert (await console.receive()).data == BANNER
        await desktop.send_bytes(request_message())
        await desktop.receive()
        await desktop.send_bytes(b"hello")
        assert (await desktop.receive()).data == b"hello"
        for line in (console, desktop):
            for stamp in ("1000.25", "1001.75"):
                await line.send_str(stamp)
                heard = await line.receive()
                assert (heard.type, heard.data) == (WSMsgType.TEXT, stamp)


@lived()
async def test_a_key_that_was_long_on_its_way_does_not_arrive_and_is_told(world: World) -> None:
    press, release = bytes.fromhex("0401000000000061"), bytes.fromhex("0400000000000061")
    async with world.console() as ws:
        await ws.receive()
        await ws.send_str(str(time.time() - 60))
        assert (await ws.receive()).type is WSMsgType.TEXT
        await ws.send_bytes(press)
        await ws.send_bytes(release)
        assert (await ws.receive()).data == release
        await until(lambda: world.gate.late_inputs == 1)
        await ws.send_str(str(time.time()))
        assert (await ws.receive()).type is WSMsgType.TEXT
        await ws.send_bytes(press)
        assert (await ws.receive()).data == press
