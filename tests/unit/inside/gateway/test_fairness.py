"""Whose turn it is among strangers, and that a flood is nobody's trouble but its own."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import ssl
import statistics
import time
from asyncio import sslproto
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from gateway_world import FRONT, SESSION, TOKENS, World, lived
from sevenlbd.inside.gateway import authentication, first_bytes, peers, server
from sevenlbd.inside.gateway.fairness import Crowd, Slots, Visit
from sevenlbd.inside.gateway.first_bytes import Verdict
from sevenlbd.inside.gateway.peers import MINE, NODE, Peers
from sevenlbd.outside.access import peer_socket


def test_a_crowd_knows_its_largest_group_and_the_oldest_in_it() -> None:
    crowd = Crowd()
    many = [Visit("flood", since=float(number)) for number in range(5)]
    one = Visit("user", since=0.0)
    for visit in [*many, one]:
        crowd.add(visit)
    assert (len(crowd), crowd.size("flood"), crowd.largest()) == (6, 5, "flood")
    assert crowd.oldest("flood") is many[0]
    assert crowd.remove(many[0])
    assert not crowd.remove(many[0])
    assert crowd.oldest("flood") is many[1]
    assert crowd.before(2.5) == [many[1], many[2], one]


def test_groups_take_turns_however_large_they_are() -> None:
    crowd = Crowd()
    for name, count in (("flood", 100), ("user", 2), ("portal", 2)):
        for _ in range(count):
            crowd.add(Visit(name))
    served = []
    for _ in range(2):
        for visit in crowd.in_turn():
            crowd.remove(visit)
            served.append(visit.group)
    assert sorted(served) == ["flood", "flood", "portal", "portal", "user", "user"]


def test_a_slot_is_taken_from_the_largest_group_at_once_and_from_ones_own_after_its_turn() -> None:
    ended: list[str] = []
    slots = Slots(3, 1.0)
    flood = [Visit("flood", lambda n=number: ended.append(f"flood {n}")) for number in range(3)]  # type: ignore[misc]  # the default is the number
    assert all(slots.take(visit) for visit in flood)
    assert not slots.take(Visit("flood"))
    assert slots.take(Visit("user"))
    assert ended == ["flood 0"]
    assert slots.take(Visit("other"))
    assert ended == ["flood 0", "flood 1"]
    assert not slots.take(Visit("flood"))
    time.sleep(1.1)
    assert slots.take(Visit("user"))
    assert len(slots) == 3


def test_who_cannot_be_turned_away_takes_the_place_of_the_largest_groups_oldest() -> None:
    ended: list[int] = []
    slots = Slots(2, 60.0)
    for number in range(2):
        slots.take(Visit("flood", lambda n=number: ended.append(n)))  # type: ignore[misc]  # the default is the number
    slots.force(Visit("flood"))
    assert (ended, len(slots)) == ([0], 2)


GOOD_COOKIE = f"{authentication.cookie_name(SESSION)}={authentication.make_cookie('status', FRONT.cookie_key)}"
LOGIN = b"POST /node/node7/1/login HTTP/1.1\r\nHost: x\r\nContent-Length: 49\r\n\r\n"
FIRST_BYTES = (
    (b"", Verdict.GONE),
    (b"G", Verdict.WAIT),
    (b"GET / HTTP/1.1\r\nHost: x\r\n", Verdict.WAIT),
    (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", Verdict.STRANGER),
    (b"\x16\x03\x01\x02", Verdict.STRANGER),
    (b"GET /" + b"a" * first_bytes.PEEK, Verdict.STRANGER),
    (f"GET / HTTP/1.1\r\nCookie: a=b; {GOOD_COOKIE}\r\n\r\n".encode(), Verdict.KNOWN),
    (f"GET / HTTP/1.1\r\ncookie:{GOOD_COOKIE}\r\n\r\n".encode(), Verdict.KNOWN),
    (f"GET / HTTP/1.1\r\nCookie: {GOOD_COOKIE}".encode(), Verdict.WAIT),
    (f"GET / HTTP/1.1\r\nCookie: {GOOD_COOKIE}x\r\n\r\n".encode(), Verdict.STRANGER),
    (f"GET / HTTP/1.1\r\nX: Cookie: {GOOD_COOKIE}\r\n\r\n".encode(), Verdict.STRANGER),
    (f"GET / HTTP/1.1\r\nAuthorization: Bearer {TOKENS['status']}\r\n\r\n".encode(), Verdict.KNOWN),
    (b"GET / HTTP/1.1\r\nAuthorization: Bearer nothing\r\n\r\n", Verdict.STRANGER),
    (b"GET / HTTP/1.1\r\nCookie: \xff\xfe\r\nAuthorization: \xff\r\n\r\n", Verdict.STRANGER),
    (LOGIN, Verdict.STRANGER),
    (LOGIN + b"token=" + TOKENS["desktop"].encode(), Verdict.KNOWN),
    (LOGIN + b"to=desktop&token=" + TOKENS["desktop"].encode(), Verdict.KNOWN),
    (LOGIN + b"token=" + TOKENS["desktop"][:-1].encode(), Verdict.STRANGER),
    (LOGIN + b"nottoken=" + TOKENS["desktop"].encode(), Verdict.STRANGER),
)


@pytest.mark.parametrize(("data", "verdict"), FIRST_BYTES)
def test_the_first_bytes_of_a_request_tell_who_goes_first(data: bytes, verdict: Verdict) -> None:
    assert first_bytes.of_http(data, FRONT) is verdict
    if verdict is Verdict.KNOWN:
        assert first_bytes.of_http(data, None) is Verdict.STRANGER


@pytest.mark.parametrize(
    ("data", "verdict"),
    [
        (b"", Verdict.GONE),
        (b"GET / HTTP/1.1", Verdict.GONE),
        (b"\x16\x03\x01", Verdict.WAIT),
        (b"\x16\x03\x01\x00\x05abcd", Verdict.WAIT),
        (b"\x16\x03\x01\x00\x05abcde", Verdict.STRANGER),
        (b"\x16\x03\x01\xff\xff", Verdict.GONE),
        (b"\x16\x03\x01\x00\x00", Verdict.GONE),
    ],
)
def test_no_handshake_begins_before_its_first_message_is_whole(data: bytes, verdict: Verdict) -> None:
    assert first_bytes.of_tls(data) is verdict


@pytest.fixture
def everywhere() -> Iterator[socket.socket]:
    """A listening socket of both families."""
    with socket.socket(socket.AF_INET6) as listener:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(("::", 0))
        listener.listen()
        yield listener


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_a_caller_on_this_node_is_known_by_its_owner(everywhere: socket.socket, address: str) -> None:
    with peer_socket.opened(everywhere.getsockname()[1]) as wire:
        asking = Peers(wire)
        caller = socket.create_connection((address, everywhere.getsockname()[1]))
        ours, theirs = everywhere.accept()
        assert asking.group(ours.getsockname(), theirs) == MINE
        asking._me = os.getuid() + 1
        assert asking.group(ours.getsockname(), theirs) == NODE
        caller.close()
        ours.close()


def test_an_address_counts_the_same_however_it_is_written() -> None:
    nobody, here = Peers(None), ("::", 1, 0, 0)
    assert nobody.group(here, ("::ffff:192.0.2.7", 5, 0, 0)) == nobody.group(("0.0.0.0", 1), ("192.0.2.7", 6))
    assert nobody.group(here, ("2001:db8::1", 5, 0, 0)) == nobody.group(here, ("2001:db8::ffff:2", 6, 0, 0))
    assert nobody.group(here, ("2001:db8:0:1::1", 5, 0, 0)) != nobody.group(here, ("2001:db8::1", 6, 0, 0))
    assert nobody.group(here, ("::ffff:127.3.4.5", 5, 0, 0)) == NODE
    assert nobody.group(here, ("fe80::1%2", 5, 0, 2))


def test_what_crosses_the_wall_tells_of_no_other_connection_and_cannot_be_widened(everywhere: socket.socket) -> None:
    with (
        peer_socket.opened(everywhere.getsockname()[1]) as wire,
        socket.create_server(("127.0.0.1", 0)) as other,
        socket.create_connection(other.getsockname()) as caller,
    ):
        assert wire
        place, asking = peers._plain("127.0.0.1"), Peers(wire)
        there, here = caller.getsockname()[1], other.getsockname()[1]
        assert asking._owner(peers._id(place, there, place, here), 4) is None
        for states, family in (
            (0xFFFFFFFF, socket.AF_INET),
            (0xFFFFFFFF, socket.AF_INET6),
            (0xFFFFFFFF, socket.AF_UNIX),
        ):
            every = peers._QUESTION.pack(family, socket.IPPROTO_TCP, 0xFF, 0, states) + bytes(48)
            wire.send(peers._HEADER.pack(peers._HEADER.size + len(every), 20, 0x301, 1, 0) + every)
            with suppress(BlockingIOError):
                while answer := wire.recv(1 << 16):
                    assert len(answer) <= 88
                    assert int.from_bytes(answer[22:24]) == everywhere.getsockname()[1]
        for option in (26, 27):  # SO_ATTACH_FILTER, SO_DETACH_FILTER
            with pytest.raises(PermissionError):
                wire.setsockopt(socket.SOL_SOCKET, option, bytes(16))


class ByAddress(Peers):
    """Neighbours told apart by the loopback address that they call from, as uids cannot be in one process."""

    def group(self, ours: Any, theirs: Any) -> str:
        return str(theirs[0])


NEIGHBOUR = "127.0.0.2"
OPTIONS: dict[str, Any] = {"peers": ByAddress(None), "seconds": 60.0}


@asynccontextmanager
async def flooded(world: World, sent: bytes) -> AsyncIterator[None]:
    """While this lasts a neighbour opens connections, sends that on each, and holds the last few hundred."""
    held: list[socket.socket] = []

    async def flood() -> None:
        while True:
            for _ in range(20):
                one = socket.socket()
                one.setblocking(False)
                one.bind((NEIGHBOUR, 0))
                with suppress(OSError):
                    one.connect(("127.0.0.1", world.port))
                with suppress(OSError):
                    one.send(sent)
                held.append(one)
                if len(held) > 400:
                    held.pop(0).close()
            await asyncio.sleep(0)

    flooding = asyncio.create_task(flood())
    await asyncio.sleep(0.5)
    try:
        yield
    finally:
        flooding.cancel()
        for one in held:
            one.close()


# Seconds. Who is locked out waits for as long as the flood lasts; how fast it is on a quiet node: docs/connectors.md.
LET_IN = 10.0


async def seconds_to_log_in(world: World, scheme: str = "http") -> float:
    begun = time.monotonic()
    place = f"{scheme}://127.0.0.1:{world.port}/"
    options: dict[str, Any] = {"ssl": False, "allow_redirects": False}
    async with world.client.get(place, **options) as page:
        assert page.status == 200
    async with world.client.post(f"{place}login", data={"token": TOKENS["desktop"]}, **options) as answer:
        assert answer.status == 303
    return time.monotonic() - begun


FLOODS = {
    "silent": b"",
    "half a head": b"GET / HTTP/1.1\r\nHost: x\r\nX: ",
    "requests": b"GET /assets/style.css HTTP/1.1\r\nHost: x\r\n\r\n" * 200,
    "guesses": LOGIN.replace(b"49", b"7") + b"token=x",
    "slow bodies": LOGIN,
}


@pytest.mark.parametrize("kind", FLOODS)
@lived(**OPTIONS)
async def test_a_neighbours_flood_leaves_the_user_page_and_log_in(world: World, kind: str) -> None:
    async with flooded(world, FLOODS[kind]):
        times = [await seconds_to_log_in(world) for _ in range(5)]
    assert statistics.median(times) < LET_IN, times


@pytest.mark.parametrize("kind", ["requests", "slow bodies"])
@lived(seconds=60.0)
async def test_a_flood_from_the_users_own_place_does_not_keep_out_who_has_the_key(world: World, kind: str) -> None:
    """Where nobody can tell them apart, as on a login node, the key still does."""
    times = []
    async with flooded(world, FLOODS[kind]):
        for _ in range(5):
            begun = time.monotonic()
            assert await world.status_of("POST", "login", data={"token": TOKENS["desktop"]}) == 303
            assert await world.status_of("GET", "api/status", world.headers("desktop")) == 200
            times.append(time.monotonic() - begun)
    assert statistics.median(times) < LET_IN, times


@lived(**OPTIONS)
async def test_the_private_socket_has_slots_of_its_own(world: World) -> None:
    times = []
    async with flooded(world, FLOODS["requests"]):
        for _ in range(5):
            begun = time.monotonic()
            reader, writer = await asyncio.open_unix_connection(world.unix)
            await asyncio.sleep(0.1)
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert (await reader.read()).startswith(b"HTTP/1.1 200")
            times.append(time.monotonic() - begun)
            writer.close()
    assert statistics.median(times) < LET_IN, times


def hello() -> bytes:
    """A ClientHello, as a flood sends it again and again without any work of its own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    outgoing = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing).do_handshake()
    return outgoing.read()


@lived(tls=True, **OPTIONS)
async def test_a_flood_of_handshakes_leaves_the_user_page_and_log_in(world: World) -> None:
    async with flooded(world, hello()):
        times = [await seconds_to_log_in(world, "https") for _ in range(5)]
    assert statistics.median(times) < LET_IN, times


@pytest.mark.parametrize(
    "then", [b"", b"\0" * 100, b"\x15\x03\x03\0\x02\x02\x28"], ids=["nothing", "garbage", "an alert"]
)
@lived(tls=True, **OPTIONS)
async def test_a_handshake_that_fails_leaves_nothing_behind(world: World, then: bytes) -> None:
    """Each held a quarter of a megabyte in a cycle: nobody waits for the garbage collector here."""

    def alive() -> int:
        return sum(isinstance(found, sslproto.SSLProtocol) for found in gc.get_objects())

    gc.disable()
    try:
        first = hello()
        for number in range(300):
            reader, writer = await asyncio.open_connection("127.0.0.1", world.port, local_addr=(NEIGHBOUR, 0))
            writer.write(first)
            if number % 3:
                with suppress(OSError):
                    await reader.read(100)
            writer.write(then)
            if number % 2:
                writer.transport.abort()
            if number % 50 == 0:
                await asyncio.sleep(0)
        await asyncio.sleep(0.5)
        assert alive() <= server._HANDSHAKES
    finally:
        gc.enable()
