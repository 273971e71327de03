"""What a client says first, told with the handshake: answered unasked, and nothing is taken or kept by it."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import aiohttp
import pytest
from gateway_world import X224_REQUEST, World, lived, request_message, until
from sevenlbd.inside.gateway import ahead
from sevenlbd.wire import tls

HELLO = b"the log-in's offer"


def packed(message: bytes) -> str:
    return base64.urlsafe_b64encode(message).decode().rstrip("=")


def told(world: World, tab: str = "t1", *, cookie: str = "", **said: bytes) -> Any:
    """A WebSocket to the desktop whose address says what its client will."""
    words = {"ask": request_message(), "hello": HELLO} | said
    query = "".join(f"&{name}={packed(message)}" for name, message in words.items() if message)
    headers = world.headers("desktop") | ({"Cookie": cookie} if cookie else {})
    return world.client.ws_connect(world.url(f"ws/rdp?tab={tab}{query}"), headers=headers)


async def code_of(ws: aiohttp.ClientWebSocketResponse[bool]) -> int | None:
    while (await ws.receive()).type is aiohttp.WSMsgType.BINARY:
        pass
    return ws.close_code


@lived()
async def test_both_answers_come_without_a_word_from_the_client(world: World) -> None:
    async with told(world) as ws:
        assert (await ws.receive()).data.startswith(b"\x30")
        assert (await ws.receive()).data == HELLO  # this server is an echo
        assert world.rdp.requests == [X224_REQUEST]
        assert world.gate.viewer == ""
        await ws.send_bytes(b"more")
        assert (await ws.receive()).data == b"more"
        assert world.gate.viewer == "t1"
    await until(lambda: world.rdp.open == 0 and world.gate.viewer == "")
    assert not world.gate.unused


@lived()
async def test_the_first_message_may_be_told_alone(world: World) -> None:
    async with told(world, hello=b"") as ws:
        assert (await ws.receive()).data.startswith(b"\x30")
        await ws.send_bytes(HELLO)
        assert (await ws.receive()).data == HELLO


@lived()
async def test_nobody_loses_the_desktop_before_the_other_tabs_client_speaks(world: World) -> None:
    async with world.desktop("one") as one:
        await one.send_bytes(request_message())
        await one.receive()
        async with told(world, "two") as two:
            await two.receive()
            await two.receive()
            assert world.gate.viewer == "one"
            await two.send_bytes(b"more")
            assert await code_of(one) == 4001
            assert world.gate.viewer == "two"


@lived()
async def test_a_connection_that_nobody_uses_ends(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "_UNUSED_SECONDS", 0.3)
    async with told(world) as ws:
        assert await code_of(ws) == 4005
    await until(lambda: world.rdp.open == 0)
    assert not world.gate.unused
    async with told(world) as ws:
        await ws.send_bytes(b"more")
        await until(lambda: world.gate.viewer == "t1")
        await asyncio.sleep(0.5)
        assert not ws.closed
        assert world.gate.viewer == "t1"


@lived()
async def test_a_visitor_has_one_such_connection_and_others_have_their_own(world: World) -> None:
    mine, other = world.cookie("desktop"), world.cookie("desktop")
    async with told(world, "one", cookie=mine) as one, told(world, "else", cookie=other) as elsewhere:
        await elsewhere.receive()
        await one.receive()
        async with told(world, "two", cookie=mine) as two:
            assert await code_of(one) == 4005
            await two.receive()
            await until(lambda: world.rdp.open == 2)
            assert len(world.gate.unused) == 2
            assert not elsewhere.closed
    await until(lambda: world.rdp.open == 0)


@lived()
async def test_strangers_cost_the_guest_nothing(world: World) -> None:
    path = f"ws/rdp?tab=t1&ask={packed(request_message())}"
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    upgrade["Sec-WebSocket-Key"] = packed(bytes(16)) + "=="
    assert await world.status_of("GET", path, upgrade) == 401
    assert await world.status_of("GET", path, upgrade | world.headers("status")) == 403
    elsewhere = upgrade | world.headers("desktop") | {"Origin": "http://other.example"}
    assert await world.status_of("GET", path, elsewhere) == 403
    assert world.rdp.requests == []


@pytest.mark.parametrize("name", ["ask", "hello"])
@pytest.mark.parametrize("said", ["", "A", "AA==", "A+B/", "%00", "ü", "A" * 1401])
@lived()
async def test_what_is_no_message_is_refused(world: World, name: str, said: str) -> None:
    words = {"ask": packed(request_message())} | {name: said}
    query = "".join(f"&{key}={value}" for key, value in words.items())
    assert await world.status_of("GET", f"ws/rdp?tab=t1{query}", world.headers("desktop")) == 400
    assert world.rdp.requests == []


@pytest.mark.parametrize(
    "ask", [b"\x30\x00", b"\x30\x80", request_message() * 2, request_message(x224=b"SSH-2.0-x\r\n")]
)
@lived()
async def test_what_is_no_request_reaches_nobody(world: World, ask: bytes) -> None:
    async with told(world, ask=ask) as ws:
        assert await code_of(ws) == 1002
    assert world.rdp.requests == []
    assert not world.gate.unused


@lived()
async def test_another_certificate_hears_nothing(world: World) -> None:
    world.phase("ready", certificate=tls.fingerprint(b"another"))
    async with told(world) as ws:
        assert await code_of(ws) == 4003
    await until(lambda: world.rdp.open == 0)


@lived()
async def test_renewal_and_the_sessions_end_close_it(world: World) -> None:
    async with told(world) as ws:
        await ws.receive()
        world.renew()
        assert await code_of(ws) == 4004
    async with told(world) as ws:
        await ws.receive()
        world.phase("ended")
        assert await code_of(ws) == 4002
    await until(lambda: world.rdp.open == 0)
    assert not world.gate.unused
