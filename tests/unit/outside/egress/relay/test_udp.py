"""UDP through the relay: both ways, each of the guest's ports by itself, and bounded whoever a guest pretends to be."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from egress_world import HOME, World, echo, free_port, is_calm, live, tcp_forward, udp, until, world
from sevenlbd.outside.egress.relay import udp as relay_udp
from sevenlbd.outside.egress.relay.allowed import Allowed
from sevenlbd.wire.forwards import Forward

Place = tuple[str, int]


@asynccontextmanager
async def udp_door(**orders: Any) -> AsyncIterator[tuple[World, Place, socket.socket]]:
    """A door to a server: the world, where the door is inside, and the server's socket."""
    with udp() as server:
        port = server.getsockname()[1]
        async with world(Allowed(udp=((HOME, port),), **orders)) as here:
            yield here, here.open(Forward("udp", HOME, port)), server


async def get(ours: socket.socket, seconds: float = 5.0) -> tuple[bytes, Place]:
    async with asyncio.timeout(seconds):
        return await asyncio.get_running_loop().sock_recvfrom(ours, 70000)


async def nothing_comes(ours: socket.socket) -> bool:
    try:
        await get(ours, 0.2)
    except TimeoutError:
        return True
    return False


@pytest.mark.parametrize("size", [0, 1, 1200, 9000, 60000])
@live
async def test_a_datagram_arrives_whole_both_ways(size: int) -> None:
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    async with udp_door() as (here, door, server):
        with udp() as guest:
            guest.sendto(data, door)
            asked, who = await get(server)
            server.sendto(asked + b"!" if size < 60000 else asked, who)
            answer, came_from = await get(guest)
        assert asked == data
        assert answer[:size] == data
        assert came_from == door
        await here.end()
        record = here.records()[0]
    assert (record["kind"], record["up"], record["down"], record["end"]) == ("udp", size, len(answer), "session ended")


@live
async def test_each_of_the_guests_ports_gets_its_own_answers() -> None:
    async with udp_door() as (_, door, server):
        with udp() as one, udp() as other:
            one.sendto(b"one", door)
            first = await get(server)
            other.sendto(b"other", door)
            second = await get(server)
            assert first[1] != second[1]
            server.sendto(b"for other", second[1])
            server.sendto(b"for one", first[1])
            assert (await get(one))[0] == b"for one"
            assert (await get(other))[0] == b"for other"


@live
async def test_only_the_server_itself_can_answer() -> None:
    async with udp_door() as (_, door, server):
        with udp() as guest, udp() as stranger:
            guest.sendto(b"x", door)
            _, who = await get(server)
            stranger.sendto(b"from a stranger", who)
            assert await nothing_comes(guest)


@live
async def test_a_server_that_is_not_there_is_told_in_the_list_and_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_udp, "_UNANSWERED_SECONDS", 0.5)
    with udp() as server:
        place = server.getsockname()
        async with world(Allowed(udp=(place,), idle=0.5)) as here:
            door = here.open(Forward("udp", *place))
            server.close()
            with udp() as guest:
                guest.sendto(b"is anybody there", door)
                await asyncio.sleep(0.1)
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as late:
                    late.bind(place)
                    late.setblocking(False)
                    guest.sendto(b"again", door)
                    assert (await get(late))[0] == b"again"
            assert (await here.recorded())[0]["end"] == "refused"


@live
async def test_made_up_senders_push_out_each_other_and_nobody_who_has_an_answer() -> None:
    async with udp_door(connections=5) as (here, door, server):
        with udp() as guest:
            guest.sendto(b"mine", door)
            _, who = await get(server)
            server.sendto(b"yours", who)
            assert (await get(guest))[0] == b"yours"
            for _ in range(100):
                with udp() as made_up:
                    made_up.sendto(b"flood", door)
                    await get(server)
            assert len(here.house.crowd) == 5
            guest.sendto(b"still me", door)
            assert await get(server) == (b"still me", who)
            records = await here.recorded(96)
    assert {record["end"] for record in records[:96]} == {"made room"}


@live
async def test_when_all_have_an_answer_the_one_that_is_silent_longest_makes_room() -> None:
    """A client that takes a new port for each of its questions is served for ever."""
    async with udp_door(connections=2) as (here, door, server):
        for number in range(10):
            with udp() as guest:
                guest.sendto(b"%d" % number, door)
                asked, who = await get(server)
                server.sendto(asked, who)
                assert (await get(guest))[0] == b"%d" % number
        assert len(here.house.crowd) == 2
        assert [record["end"] for record in await here.recorded(8)] == ["made room"] * 8
        assert list(here.house.health.told().met) == ["flows"]


@live
async def test_datagrams_take_no_place_from_tcp_nor_tcp_from_them() -> None:
    async with tcp_forward(echo, connections=1, udp=((HOME, port := free_port()),)) as (here, door):
        place = here.open(Forward("udp", HOME, port))
        with udp() as one, udp() as other:
            for guest in (one, other):
                guest.sendto(b"x", place)
            await until(lambda: len(here.house.crowd) == 1)
            reader, writer = await asyncio.open_connection(*door)
            writer.write(b"x")
            assert await reader.readexactly(1) == b"x"
            one.sendto(b"x", place)
            await here.recorded(2)
            writer.write(b"y")
            assert await reader.readexactly(1) == b"y"


@live
async def test_a_flow_that_is_silent_is_forgotten() -> None:
    async with udp_door(idle=0.3) as (here, door, server):
        with udp() as guest:
            guest.sendto(b"x", door)
            server.sendto(b"y", (await get(server))[1])
            await get(guest)
            await until(lambda: len(here.house.crowd) == 0)
            assert (await here.recorded())[0]["end"] == "idle"
            guest.sendto(b"z", door)
            assert (await get(server))[0] == b"z"


@live
async def test_what_is_beyond_the_rate_is_dropped() -> None:
    async with udp_door(rate=200_000) as (_, door, server):
        got = 0

        async def count() -> None:
            nonlocal got
            while True:
                got += len((await get(server))[0])

        counting = asyncio.create_task(count())
        with udp() as guest:
            for _ in range(100):
                for _ in range(10):
                    guest.sendto(bytes(1000), door)
                await asyncio.sleep(0.01)
        counting.cancel()
    # Of a million bytes in a second or a little more; the bucket's first filling comes on top.
    assert 150_000 < got < 600_000


@live
async def test_a_torrent_of_datagrams_leaves_tcp_its_share_of_the_rate() -> None:
    async with udp_door(rate=200_000, tcp=((HOME, port := free_port()),)) as (here, door, _):
        listening = await asyncio.start_server(echo, HOME, port)
        place = here.open(Forward("tcp", HOME, port))
        with udp() as guest:

            async def pour() -> None:
                while True:
                    for _ in range(20):
                        guest.sendto(bytes(1000), door)
                    await asyncio.sleep(0.005)

            pouring = asyncio.create_task(pour())
            await asyncio.sleep(0.5)
            reader, writer = await asyncio.open_connection(*place)
            began = time.monotonic()
            writer.write(bytes(100_000))
            await reader.readexactly(100_000)
            lasted = time.monotonic() - began
            pouring.cancel()
            writer.close()
        listening.close()
        # Half of the rate each: a second. Without turns it would be never.
        assert lasted < 4
        assert list(here.house.health.told().met) == ["rate"]


@live
async def test_a_socket_that_says_that_it_is_ready_and_is_not_keeps_nobody_busy() -> None:
    """It comes from inside, where somebody may have had a hand in it: errors wait in a queue that we do not read."""
    with udp() as server:
        place = server.getsockname()
        async with world(Allowed(udp=(place,))) as here:
            near = udp()
            near.setsockopt(socket.IPPROTO_IP, 11, 1)  # IP_RECVERR
            door = near.getsockname()
            here.relay.open(Forward("udp", *place), socket.socket(fileno=near.detach()))
            with udp() as guest:
                guest.sendto(b"x", door)
                _, who = await get(server)
            server.sendto(b"nobody is there any more", who)
            await asyncio.sleep(0.1)
            assert await is_calm()
            with udp() as guest:
                guest.sendto(b"y", door)
                asked, who = await get(server)
                server.sendto(asked, who)
                assert (await get(guest))[0] == b"y"
