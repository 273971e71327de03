"""TCP through the relay: everything a server does reaches the guest as it was done, and limits hold."""

from __future__ import annotations

import asyncio
import random
import resource
import socket
import time
from asyncio import StreamReader as Reader
from asyncio import StreamWriter as Writer
from pathlib import Path

import pytest
from egress_world import HOME, echo, free_port, is_calm, live, reset, server, tcp_forward, until, world
from sevenlbd.outside.egress.relay import health, reach, relay_context
from sevenlbd.outside.egress.relay.allowed import Allowed
from sevenlbd.outside.egress.relay.lines import Beat
from sevenlbd.wire.forwards import Forward

MEGABYTE = 1_000_000


def descriptors() -> list[int]:
    return [int(path.name) for path in Path("/proc/self/fd").iterdir()]


async def is_reset(reader: Reader) -> bool:
    """Whether what comes next is a reset, and not an end."""
    try:
        async with asyncio.timeout(10):
            await reader.read(1)
    except ConnectionResetError:
        return True
    return False


@live
async def test_bytes_arrive_whole_both_ways_at_once() -> None:
    sent = random.Random(7).randbytes(20 * MEGABYTE)
    async with tcp_forward(echo) as (here, door):
        reader, writer = await asyncio.open_connection(*door)

        async def send() -> None:
            for start in range(0, len(sent), 99_991):
                writer.write(sent[start : start + 99_991])
                await writer.drain()
            writer.write_eof()

        sending = asyncio.create_task(send())
        assert await reader.read(-1) == sent
        await sending
        record, *_ = await here.recorded()
    assert (record["up"], record["down"], record["end"]) == (len(sent), len(sent), "closed by guest")
    assert (record["session"], record["kind"], record["address"]) == ("blue-fox", "tcp", HOME)
    assert not record["refused"]


@pytest.mark.parametrize("by", ["guest", "server"])
@live
async def test_an_urgent_byte_goes_through_in_its_place_and_costs_nothing(by: str) -> None:
    """splice(2) stops before it, for good, and poll(2) says that there is something to read: that was a full core."""
    heard = asyncio.get_running_loop().create_future()

    async def speaks(reader: Reader, writer: Writer) -> None:
        urge(writer)
        await heard

    async def hears(reader: Reader, writer: Writer) -> None:
        heard.set_result(await reader.readexactly(12))

    def urge(writer: Writer) -> None:
        with writer.get_extra_info("socket").dup() as wire:
            for piece, flags in ((b"before", 0), (b"!", socket.MSG_OOB), (b"after", 0)):
                wire.send(piece, flags)

    async with tcp_forward(hears if by == "guest" else speaks) as (_, door):
        reader, writer = await asyncio.open_connection(*door)
        if by == "guest":
            urge(writer)
        else:
            await hears(reader, writer)
        assert await heard == b"before!after"
        writer.close()


@live
async def test_an_urgent_byte_that_is_the_last_one_keeps_nobody_busy() -> None:
    async with tcp_forward(echo) as (_, door):
        reader, writer = await asyncio.open_connection(*door)
        with writer.get_extra_info("socket").dup() as wire:
            wire.send(b"!", socket.MSG_OOB)
        assert await reader.readexactly(1) == b"!"
        assert await is_calm()
        writer.close()


@live
async def test_a_server_that_is_down_is_known_until_it_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_AGAIN_SECONDS", 0.1)
    place = (HOME, free_port())
    allowed = Allowed(tcp=(place,), names=(("license.example.edu", (HOME,)),))
    async with world(allowed) as here:
        here.house.spawn(here.house.health.watch())
        door = here.open(Forward("tcp", *place))
        assert here.house.health.told() == Beat((), ()), "nobody has called it"
        reader, _ = await asyncio.open_connection(*door)
        assert await is_reset(reader)
        assert list(here.house.health.told().down) == [f"license.example.edu, port {place[1]}: refused"]
        async with await asyncio.start_server(echo, *place):
            await until(lambda: list(here.house.health.told().down) == [])


@live
async def test_the_limit_of_connections_is_told_when_it_is_met() -> None:
    async with tcp_forward(echo, connections=1) as (here, door):
        first = await asyncio.open_connection(*door)
        await until(lambda: here.house.slots.taken == 1)
        assert list(here.house.health.told().met) == []
        reader, _ = await asyncio.open_connection(*door)
        assert await is_reset(reader)
        assert list(here.house.health.told().met) == ["connections"]
        first[1].close()


@live
async def test_a_guest_that_has_said_all_still_hears_the_answer() -> None:
    async def sums_up(reader: Reader, writer: Writer) -> None:
        everything = await reader.read(-1)
        await asyncio.sleep(0.1)
        writer.write(b"%d" % len(everything))

    async with tcp_forward(sums_up) as (_, door):
        reader, writer = await asyncio.open_connection(*door)
        writer.write(b"x" * 5000)
        writer.write_eof()
        assert await reader.read(-1) == b"5000"


@live
async def test_a_server_that_has_said_all_still_hears_the_guest() -> None:
    heard = asyncio.get_running_loop().create_future()

    async def says_and_listens(reader: Reader, writer: Writer) -> None:
        writer.write(b"hello")
        writer.write_eof()
        heard.set_result(await reader.read(-1))

    async with tcp_forward(says_and_listens) as (here, door):
        reader, writer = await asyncio.open_connection(*door)
        assert await reader.read(-1) == b"hello"
        writer.write(b"still here")
        await asyncio.sleep(0.05)
        writer.write(b", and now gone")
        writer.write_eof()
        assert await heard == b"still here, and now gone"
        assert (await here.recorded())[0]["end"] == "closed by server"


@live
async def test_a_server_that_resets_resets_the_guest() -> None:
    async def resets(reader: Reader, writer: Writer) -> None:
        await reader.read(1)
        reset(writer)

    async with tcp_forward(resets) as (here, door):
        reader, writer = await asyncio.open_connection(*door)
        writer.write(b"x")
        assert await is_reset(reader)
        assert (await here.recorded())[0]["end"] == "reset by server"


@live
async def test_a_guest_that_resets_resets_the_server() -> None:
    seen = asyncio.get_running_loop().create_future()

    async def waits(reader: Reader, writer: Writer) -> None:
        seen.set_result(await is_reset(reader))

    async with tcp_forward(waits) as (here, door):
        _, writer = await asyncio.open_connection(*door)
        await until(lambda: here.house.slots.taken == 1)
        await asyncio.sleep(0.05)
        reset(writer)
        assert await seen
        assert (await here.recorded())[0]["end"] == "reset by guest"


@live
async def test_a_server_that_is_down_resets_at_once() -> None:
    port = free_port()
    async with world(Allowed(tcp=((HOME, port),), names=(("license.example.edu", (HOME,)),))) as here:
        began = time.monotonic()
        reader, _ = await asyncio.open_connection(*here.open(Forward("tcp", HOME, port)))
        assert await is_reset(reader)
        assert time.monotonic() - began < 5
        record = (await here.recorded())[0]
    assert (record["end"], record["refused"], record["host"]) == ("refused", True, "license.example.edu")


@live
async def test_a_server_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    # A listener whose queue is full does not answer, like a host that is switched off.
    with socket.create_server((HOME, 0), backlog=0) as full:
        port = full.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex((HOME, port))
        monkeypatch.setattr(reach.tcp, "__kwdefaults__", {"small": False, "seconds": 0.3})
        async with world(Allowed(tcp=((HOME, port),))) as here:
            reader, _ = await asyncio.open_connection(*here.open(Forward("tcp", HOME, port)))
            assert await is_reset(reader)
            assert (await here.recorded())[0]["end"] == "timed out"
        for one in waiting:
            one.close()


@live
async def test_a_slow_reader_slows_its_writer_and_fills_no_memory() -> None:
    go_on = asyncio.Event()
    got = 0

    async def reads_late(reader: Reader, writer: Writer) -> None:
        nonlocal got
        await go_on.wait()
        while data := await reader.read(1 << 20):
            got += len(data)

    async with tcp_forward(reads_late) as (here, door):
        _, writer = await asyncio.open_connection(*door)
        chunk, taken = bytes(MEGABYTE), 0
        try:
            async with asyncio.timeout(0.7):
                while taken < 200:
                    writer.write(chunk)
                    await writer.drain()
                    taken += 1
        except TimeoutError:
            pass
        # What the kernel's buffers hold on both connections, and one pipe.
        assert taken < 40
        go_on.set()
        writer.write_eof()
        total = (taken + 1) * MEGABYTE
        await until(lambda: got == total)
        assert (await here.recorded())[0]["up"] == total


@live
async def test_a_connection_that_carries_nothing_is_ended_and_one_that_does_is_not() -> None:
    async with tcp_forward(echo, idle=0.4) as (here, door):
        quiet, _ = await asyncio.open_connection(*door)
        reader, writer = await asyncio.open_connection(*door)

        async def talk() -> None:
            for _ in range(10):
                writer.write(b"x")
                assert await reader.readexactly(1) == b"x"
                await asyncio.sleep(0.1)

        talking = asyncio.create_task(talk())
        assert await is_reset(quiet)
        await talking
        assert [record["end"] for record in await here.recorded()] == ["idle"]


@live
async def test_one_connection_too_many_is_reset_and_there_is_room_again_later() -> None:
    async with tcp_forward(echo, connections=2) as (here, door):
        first, second = [await asyncio.open_connection(*door) for _ in range(2)]
        await until(lambda: here.house.slots.taken == 2)
        third, _ = await asyncio.open_connection(*door)
        assert await is_reset(third)
        record = (await here.recorded())[0]
        assert (record["refused"], record["end"]) == (True, "too many connections")
        second[1].close()
        first[1].close()
        await until(lambda: here.house.slots.taken == 0)
        reader, writer = await asyncio.open_connection(*door)
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"


@live
async def test_new_connections_come_at_a_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_context, "_NEW_A_SECOND", 50)
    monkeypatch.setattr(relay_context, "_NEW_AT_ONCE", 10)
    async with tcp_forward(echo) as (here, door):
        began = time.monotonic()
        for _ in range(40):
            _, writer = await asyncio.open_connection(*door)
            writer.close()
        await here.recorded(40)
    assert 0.55 < time.monotonic() - began < 30


@pytest.mark.parametrize("way", ["up", "down"])
@live
async def test_all_connections_together_keep_to_the_rate(way: str) -> None:
    rate, seconds = 4 * MEGABYTE, 1.2

    async def blast(writer: Writer) -> None:
        while True:
            writer.write(bytes(65536))
            await writer.drain()

    async def serve(reader: Reader, writer: Writer) -> None:
        if way == "down":
            await blast(writer)
        while await reader.read(1 << 20):
            pass

    async with tcp_forward(serve, rate=rate) as (here, door):
        began = time.monotonic()
        ends = [await asyncio.open_connection(*door) for _ in range(4)]
        counts = [0] * 4

        async def read(index: int) -> None:
            while data := await ends[index][0].read(1 << 20):
                counts[index] += len(data)

        work = [blast(writer) for _, writer in ends] if way == "up" else [read(index) for index in range(4)]
        tasks = [asyncio.create_task(one) for one in work]
        await asyncio.sleep(seconds)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for _, writer in ends:
            reset(writer)
        # What had arrived before the reset is carried to its end.
        carried = [record[way] for record in await here.recorded(4)]
        lasted = time.monotonic() - began
    assert 0.6 * rate * lasted < sum(carried) < 1.25 * rate * lasted
    # Nobody gets all of it.
    assert min(carried) > 0.1 * sum(carried)


@live
async def test_a_slow_rate_does_not_hold_up_the_other_direction() -> None:
    async with tcp_forward(echo, rate=100_000) as (_, door):
        reader, writer = await asyncio.open_connection(*door)
        writer.write(bytes(150_000))
        began = time.monotonic()
        assert len(await reader.readexactly(150_000)) == 150_000
        assert 0.4 < time.monotonic() - began < 30


@live
async def test_nothing_is_left_of_many_connections_however_they_end() -> None:
    async def whims(reader: Reader, writer: Writer) -> None:
        wish = await reader.read(1)
        if wish == b"r":
            reset(writer)
        elif wish == b"s":
            writer.write(bytes(3 * MEGABYTE))  # which nobody reads
            await writer.drain()

    async with tcp_forward(whims) as (here, door):
        before = len(descriptors())
        for number in range(120):
            reader, writer = await asyncio.open_connection(*door)
            writer.write(b"rseg"[number % 4 : number % 4 + 1])
            if number % 3:
                await asyncio.sleep(0.002)
            if number % 2:
                reset(writer)
            else:
                writer.close()
            del reader
        await here.recorded(120)
        await until(lambda: len(descriptors()) <= before + 2 * 8)  # and a few pipes for later
        assert here.house.slots.taken == 0


@live
async def test_what_is_under_way_when_the_session_ends_is_in_the_list() -> None:
    async with tcp_forward(echo) as (here, door):
        reader, writer = await asyncio.open_connection(*door)
        writer.write(b"hello")
        await reader.readexactly(5)
        await here.end()
        record = here.records()[0]
        assert await is_reset(reader)
    assert (record["end"], record["up"], record["down"]) == ("session ended", 5, 5)


@live
async def test_the_listener_outlives_a_lack_of_descriptors() -> None:
    async with server(echo) as port, world(Allowed(tcp=((HOME, port),))) as here:
        door = here.open(Forward("tcp", HOME, port))
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        first = await asyncio.open_connection(*door)
        await until(lambda: here.house.slots.taken == 1)
        used = max(descriptors())
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 1, hard))
        try:
            # One descriptor for the guest's end here; none for the relay, neither to accept nor to connect.
            second = await asyncio.open_connection(*door)
            await asyncio.sleep(0.3)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for _, writer in (first, second):
            writer.close()
        await until(lambda: here.house.slots.taken == 0)
        reader, writer = await asyncio.open_connection(*door)
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
