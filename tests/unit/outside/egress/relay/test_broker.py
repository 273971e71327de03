"""The broker, as somebody finds it who has taken over the relay: what is on the list, and nothing else."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from egress_world import HOME, echo, free_port, live, server, udp
from hypothesis import given
from hypothesis import strategies as st
from sevenlbd.outside.egress.relay.allowed import Allowed, Pattern
from sevenlbd.outside.egress.relay.broker import Broker
from sevenlbd.outside.egress.relay.dialing import OUTCOMES, WISHES, Outcome, Wish
from sevenlbd.wire import packets

NAME = "portal.example.edu"


class Relay:
    """One that says what it likes."""

    def __init__(self, wire: socket.socket) -> None:
        self._wire = wire
        wire.setblocking(False)

    async def ask(self, what: bytes) -> tuple[Outcome, socket.socket | None]:
        """The answer to a message, and the socket that came with it."""
        self._wire.send(what)
        ready = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(self._wire, ready.set)
        try:
            await asyncio.wait_for(ready.wait(), 5)
        finally:
            loop.remove_reader(self._wire)
        data, numbers, _, _ = socket.recv_fds(self._wire, packets.MAX_MESSAGE, 4)
        return OUTCOMES.unpack(data), socket.socket(fileno=numbers[0]) if numbers else None

    async def wants(self, want: object, host: object, port: object) -> tuple[str, socket.socket | None]:
        """Why there is nothing, or the socket."""
        packed = json.dumps({"id": 7, "want": want, "host": host, "port": port}).encode()
        said, given = await self.ask(packed)
        assert said.id == 7
        return said.why or "", given


@asynccontextmanager
async def broker(allowed: Allowed) -> AsyncIterator[Relay]:
    ours, theirs = packets.pair()
    serving = asyncio.create_task(Broker(allowed, theirs).serve())
    try:
        yield Relay(ours)
    finally:
        ours.close()
        await serving
        theirs.close()


@live
async def test_what_is_listed_is_connected() -> None:
    async with server(echo) as port:
        patterns = (Pattern("https", NAME, port, port),)
        async with broker(Allowed(tcp=((HOME, port),), proxy=patterns, pinned=((NAME, HOME),))) as relay:
            for want, host in (("tcp", HOME), ("https", NAME)):
                why, given = await relay.wants(want, host, port)
                assert given
                assert (why, given.getpeername()) == ("", (HOME, port))
                given.close()


@live
async def test_whoever_asks_gets_no_socket_of_udp() -> None:
    with udp() as server_:
        port = server_.getsockname()[1]
        async with broker(Allowed(udp=((HOME, port),))) as relay:
            _, given = await relay.wants("udp", HOME, port)
            assert given
            assert (given.family, given.type) == (socket.AF_UNIX, socket.SOCK_SEQPACKET)
            given.close()


@live
async def test_what_is_not_listed_is_not() -> None:
    async with server(echo) as port:
        listed = Allowed(tcp=((HOME, free_port()),), proxy=(Pattern("https", "*.example.edu", 443, 443),))
        async with broker(listed) as relay:
            for want, host, wanted in (
                ("tcp", HOME, port), ("udp", HOME, port), ("tcp", HOME, True), ("tcp", HOME, str(port)),
                ("https", HOME, port), ("https", HOME, 443), ("https", NAME, port), ("http", NAME, 443),
                ("https", NAME.upper(), 443), ("https", f"{NAME}.", 443), ("https", f"{NAME}:443#.example.edu", 443),
                ("https", "a@b.example.edu", 443), ("https", "example.edu", 443), ("https", "x\n.example.edu", 443),
                ("https", NAME, 10**30), ("https", NAME, -1), ("https", ["x"], 443), ("https", None, None),
                (["tcp"], HOME, port), (None, HOME, port), ("\ud800", "\ud800.example.edu", 443),
            ):  # fmt: skip
                why, given = await relay.wants(want, host, wanted)
                assert given is None
                assert why in ("not on this site's list", "malformed"), (want, host, wanted, why)


@pytest.mark.parametrize("garbage", [b"x", b"[" * 100_000, b"null", b"[]", b'{"id": "1"}', b'{"id": true}', b"\xff"])
@live
async def test_garbage_ends_nothing(garbage: bytes) -> None:
    async with broker(Allowed()) as relay:
        relay._wire.send(garbage)
        assert await relay.ask(b'{"id": 3, "want": "ping"}') == (Outcome(3), None)


@given(st.from_type(Wish), st.from_type(Outcome))
def test_wishes_and_outcomes_come_out_as_they_went_in(wish: Wish, outcome: Outcome) -> None:
    assert WISHES.unpack(WISHES.pack(wish)) == wish
    assert OUTCOMES.unpack(OUTCOMES.pack(outcome)) == outcome


@pytest.mark.parametrize("number", [None, "7", 7.0, True, [7], {}])
def test_a_wish_without_a_number_is_none(number: object) -> None:
    assert WISHES.unpack_or_none(json.dumps({"id": number, "want": "ping"}).encode()) is None


def test_what_is_wrong_with_a_wish_is_not_said_in_it() -> None:
    said = {"id": 7, "want": ["tcp"], "host": 1, "port": True, "small": "yes"}
    assert WISHES.unpack(json.dumps(said).encode()) == Wish(7)
