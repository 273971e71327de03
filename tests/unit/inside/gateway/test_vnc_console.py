"""/ws/console and the raw relays: bytes, pace, ends, many at once."""

from __future__ import annotations

import asyncio
import gc
import socket
from contextlib import suppress

import aiohttp
import pytest
from egress_world import is_calm
from gateway_world import BANNER, World, certificate, lived, relayed, request_message, until
from sevenlbd.inside.gateway import bridge, native_relay


async def code_of(ws: aiohttp.ClientWebSocketResponse[bool]) -> int | None:
    while (await ws.receive()).type is aiohttp.WSMsgType.BINARY:
        pass
    return ws.close_code


@lived()
async def test_the_console_opens_with_the_subprotocol_that_was_offered(world: World) -> None:
    async with world.console() as ws:
        assert ws.protocol == "binary"
        assert (await ws.receive()).data == BANNER
        await ws.send_bytes(b"hello")
        assert (await ws.receive()).data == b"hello"
    async with world.client.ws_connect(world.url("ws/console"), headers=world.headers("desktop")) as ws:
        assert ws.protocol is None
        assert (await ws.receive()).data == BANNER
    traffic = world.gate.traffic["console"]
    await until(lambda: traffic.now == 0)
    assert (traffic.opened, traffic.up, traffic.down) == (2, 5, 2 * len(BANNER) + 5)
    await until(lambda: world.vnc.open == 0)


@lived()
async def test_large_chunks_arrive_whole_both_ways(world: World) -> None:
    data = bytes(range(256)) * 2048
    async with world.console(max_msg_size=0) as ws:
        await ws.receive()
        await ws.send_bytes(data)
        back = b""
        while len(back) < len(data):
            back += (await ws.receive()).data
        assert back == data


@lived()
async def test_a_message_without_measure_is_refused(world: World) -> None:
    async with world.console() as ws:
        await ws.receive()
        await ws.send_bytes(bytes(bridge.MAX_MESSAGE))
        assert await code_of(ws) == 1009
    await until(lambda: world.vnc.open == 0)


@lived()
async def test_compression_is_not_spoken(world: World) -> None:
    async with world.console(compress=15) as ws:
        assert ws.compress == 0


@lived()
async def test_a_screen_that_is_not_there(world: World) -> None:
    world.gate.vnc = str(world.folder / "nothing.sock")
    async with world.console() as ws:
        assert await code_of(ws) == 4003


@lived(vnc_backlog=1)
async def test_qemus_full_queue_is_waited_for(world: World) -> None:
    """QEMU listens with a backlog of one and accepts one at a time: the others find EAGAIN."""

    async def banner() -> bytes:
        async with world.console() as ws:
            data: bytes = (await ws.receive()).data
            return data

    assert await asyncio.gather(*(banner() for _ in range(30))) == [BANNER] * 30


@lived()
async def test_a_queue_that_stays_full_is_given_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native_relay, "_CONNECT_SECONDS", 0.3)
    with socket.socket(socket.AF_UNIX) as deaf, socket.socket(socket.AF_UNIX) as first:
        path = str(world.folder / "deaf.sock")
        deaf.bind(path)
        deaf.listen(0)
        first.connect(path)
        world.gate.vnc = path
        async with world.console() as ws:
            assert await code_of(ws) == 4003


@lived()
async def test_a_reader_that_stops_stops_the_guest(world: World) -> None:
    world.vnc.flood = True
    async with world.console(max_msg_size=0) as ws:
        await ws.receive()
        connection = ws._response.connection
        assert connection
        assert connection.transport
        connection.transport.pause_reading()
        await asyncio.sleep(0.5)
        sent = world.vnc.sent
        await asyncio.sleep(0.5)
        # What the kernel's and the peer's buffers hold; nothing grows any more.
        assert world.vnc.sent == sent
        assert sent < 32 << 20
        connection.transport.resume_reading()
        await until(lambda: world.vnc.sent > sent)
        world.vnc.flood = False


@lived()
async def test_a_guest_that_stops_stops_the_browser(world: World) -> None:
    """It does not read at all: what the browser sends must not gather here."""
    path = str(world.folder / "deaf.sock")
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(path)
        deaf.listen(1)
        world.gate.vnc = path
        async with world.console() as ws:
            sent = 0
            with suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    while True:
                        await ws.send_bytes(bytes(65536))
                        sent += 65536
            assert sent < 32 << 20
            assert world.gate.traffic["console"].up < 1 << 20
            transport = ws._response.connection.transport
            transport.abort()
    await until(lambda: world.gate.watchers(stream=False) == 0)


@lived()
async def test_hundreds_do_not_block_each_other(world: World) -> None:
    stuck = await world.console(max_msg_size=0)
    await stuck.receive()
    stuck._response.connection.transport.pause_reading()

    async def echo(number: int) -> bool:
        async with world.console() as ws:
            await ws.receive()
            await asyncio.sleep(0.2)
            await ws.send_bytes(b"%d" % number)
            return bool((await ws.receive()).data == b"%d" % number)

    assert all(await asyncio.gather(*(echo(number) for number in range(200))))
    stuck._response.connection.transport.abort()


@lived()
async def test_consoles_are_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sevenlbd.inside.gateway.vnc_console._MAX_CONSOLES", 1)
    async with world.console() as ws:
        await ws.receive()
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await world.console()
        assert refused.value.status == 503


@lived()
async def test_a_silent_peer_is_noticed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge, "_HEARTBEAT_SECONDS", 0.4)
    async with world.console(autoping=False) as ws:
        assert (await ws.receive()).data == BANNER
        assert (await ws.receive()).type is aiohttp.WSMsgType.PING
        await until(lambda: world.vnc.open == 0)
        assert await code_of(ws) == 1006


@lived()
async def test_a_peer_that_neither_reads_nor_answers_is_cut_off(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge, "_HEARTBEAT_SECONDS", 0.4)
    monkeypatch.setattr(bridge, "_CLOSE_SECONDS", 0.2)
    world.vnc.flood = True
    async with world.console(max_msg_size=0) as ws:
        ws._response.connection.transport.pause_reading()
        await asyncio.sleep(0.1)
        await until(lambda: world.vnc.open == 0)
        await until(lambda: world.gate.watchers(stream=False) == 0)
        ws._response.connection.transport.abort()


@lived()
async def test_renewal_and_end_close_the_console(world: World) -> None:
    async with world.console() as ws:
        await ws.receive()
        world.renew()
        assert await code_of(ws) == 4004
    async with world.console() as ws:
        await ws.receive()
        world.phase("ended")
        assert await code_of(ws) == 4002


@pytest.mark.parametrize("tls", [False, True])
def test_the_machines_end_closes_the_console(tls: bool) -> None:
    @lived(tls=tls)
    async def scenario(world: World) -> None:
        origin = f"http{'s' if tls else ''}://127.0.0.1:{world.port}"
        headers = {"Cookie": world.cookie("console"), "Origin": origin}
        with socket.socket(socket.AF_UNIX) as qemu:
            path = str(world.folder / "qemu.sock")
            qemu.bind(path)
            qemu.listen(1)
            qemu.setblocking(False)
            world.gate.vnc = path
            async with world.client.ws_connect(f"{origin}/ws/console", headers=headers, ssl=False) as ws:
                screen, _ = await asyncio.get_running_loop().sock_accept(qemu)
                screen.send(b"last words")
                screen.close()
                assert (await ws.receive()).data == b"last words"
                assert await code_of(ws) == 4003

    scenario()


@lived()
async def test_the_raw_relay_carries_both_ways_and_half_closed(world: World) -> None:
    task, path = await relayed(world.folder, world.gate.vnc, world.gate.traffic["vnc"])
    reader, writer = await asyncio.open_unix_connection(str(path))
    data = bytes(range(256)) * 4096
    writer.write(data)
    writer.write_eof()
    assert await reader.read() == BANNER + data
    traffic = world.gate.traffic["vnc"]
    assert (traffic.opened, traffic.up, traffic.down) == (1, len(data), len(data) + len(BANNER))
    writer.close()
    await until(lambda: world.vnc.open == 0)
    task.cancel()


@lived()
async def test_an_urgent_byte_does_not_keep_the_raw_relay_busy(world: World) -> None:
    """Sockets of strangers may say that they are readable, and have nothing to read (unix(7), MSG_OOB)."""
    task, path = await relayed(world.folder, world.gate.vnc, world.gate.traffic["vnc"])
    reader, writer = await asyncio.open_unix_connection(str(path))
    assert await reader.readexactly(len(BANNER)) == BANNER
    with writer.get_extra_info("socket").dup() as wire:
        wire.send(b"!", socket.MSG_OOB)
    assert await is_calm()
    writer.write(b"x")
    assert await reader.readexactly(1) == b"x"
    writer.close()
    task.cancel()


@lived()
async def test_the_raw_relay_leads_to_a_port(world: World) -> None:
    task, path = await relayed(world.folder, f"127.0.0.1:{world.gate.rdp[1]}", world.gate.traffic["vnc"])
    world.rdp.behave = "refuse"
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(bytes.fromhex("03000013 0ee00000000000010008000b000000"))
    assert (await reader.readexactly(19))[:2] == b"\x03\x00"
    writer.close()
    await until(lambda: world.rdp.open == 0)
    task.cancel()


@lived()
async def test_the_raw_relay_hangs_up_when_nobody_is_there(world: World) -> None:
    for target in (str(world.folder / "nothing.sock"), "127.0.0.1:1"):
        task, path = await relayed(world.folder, target, world.gate.traffic["vnc"])
        reader, writer = await asyncio.open_unix_connection(str(path))
        assert await reader.read() == b""
        writer.close()
        task.cancel()
        path.unlink()


@lived()
async def test_the_raw_relay_is_bounded_and_free_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native_relay, "_MAX_CONNECTIONS", 2)
    task, path = await relayed(world.folder, world.gate.vnc, world.gate.traffic["vnc"])
    wires = [await asyncio.open_unix_connection(str(path)) for _ in range(2)]
    for reader, _ in wires:
        assert await reader.readexactly(len(BANNER)) == BANNER
    reader, writer = await asyncio.open_unix_connection(str(path))
    assert await reader.read() == b""
    wires[0][1].close()
    await until(lambda: world.vnc.open == 1)
    more, last = await asyncio.open_unix_connection(str(path))
    assert await more.readexactly(len(BANNER)) == BANNER
    for _, wire in [*wires, (reader, writer), (more, last)]:
        wire.close()
    task.cancel()


@lived()
async def test_the_raw_relay_has_the_pace_of_its_reader(world: World) -> None:
    world.vnc.flood = True
    task, path = await relayed(world.folder, world.gate.vnc, world.gate.traffic["vnc"])
    _, writer = await asyncio.open_unix_connection(str(path), limit=1024)
    await asyncio.sleep(0.5)
    sent = world.vnc.sent
    await asyncio.sleep(0.3)
    assert world.vnc.sent == sent < 16 << 20
    writer.transport.abort()
    await until(lambda: world.vnc.open == 0)
    task.cancel()


@pytest.mark.parametrize("way", ["console", "desktop"])
@lived()
async def test_viewers_that_just_go_away_leave_no_buffer_behind(world: World, way: str) -> None:
    """Each held a quarter of a megabyte in a cycle: nobody waits for the garbage collector here."""

    def alive() -> int:
        return sum(isinstance(found, bridge.Far) for found in gc.get_objects())

    before = alive()
    gc.disable()
    try:
        for _ in range(8):
            await _gone_at_once(world, way)
        await until(lambda: world.gate.traffic["console"].now == 0 and alive() <= before)
    finally:
        gc.enable()


async def _gone_at_once(world: World, way: str) -> None:
    """A browser whose line breaks when the desktop has begun."""
    path, begins = ("ws/console", b"RFB ") if way == "console" else ("ws/rdp?tab=t1", b"101 ")
    asked = {
        **world.headers("desktop"), "Host": f"127.0.0.1:{world.port}", "Upgrade": "websocket", "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }  # fmt: skip
    reader, writer = await world.wire()
    lines = "".join(f"{name}: {value}\r\n" for name, value in asked.items())
    writer.write(f"GET /{path} HTTP/1.1\r\n{lines}\r\n".encode())
    await reader.readuntil(begins)
    if way == "desktop":
        message = request_message()
        assert len(message) < 126
        writer.write(bytes((0x82, 0x80 | len(message), 0, 0, 0, 0)) + message)  # RFC 6455, 5.2; a mask of zeroes
        await reader.readuntil(certificate()[-16:])  # of the answer, which is the last before the two are bridged
        await asyncio.sleep(0.05)
    writer.transport.abort()
