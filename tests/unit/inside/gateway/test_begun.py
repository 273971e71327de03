"""A connection that is begun with the question for the log-in's secret: used by whom it is for, or soon gone."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest
from gateway_world import X224_REQUEST, World, lived, request_message, until
from sevenlbd.inside.gateway import begun
from sevenlbd.wire import tls
from test_ahead import HELLO, code_of, packed, told

OTHER_REQUEST = X224_REQUEST[:-4] + bytes.fromhex("03000000")


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is dropped because this machine is slow."""
    monkeypatch.setattr(begun, "_HELD_SECONDS", 60.0)


async def asks(world: World, cookie: str, ask: object = packed(request_message()), **headers: str) -> int:
    """The page's question for the log-in's secret; the status of its answer."""
    return await world.status_of(
        "POST", "api/desktop", world.headers("desktop") | {"Cookie": cookie} | headers, data=json.dumps({"ask": ask})
    )


def waits(world: World) -> bool:
    """Whether the connection that was begun is through with TLS."""
    return any(one._made.done() for one in world.gate.begun.values())


async def speaks(ws: aiohttp.ClientWebSocketResponse[bool]) -> None:
    """Both answers come, and then all that is said."""
    assert (await ws.receive()).data.startswith(b"\x30")
    assert (await ws.receive()).data == HELLO
    await ws.send_bytes(b"more")
    assert (await ws.receive()).data == b"more"


@pytest.mark.parametrize("is_made", [True, False])
@lived()
async def test_the_client_gets_the_connection_that_was_begun(world: World, is_made: bool) -> None:
    mine = world.cookie("desktop")
    assert await asks(world, mine) == 200
    if is_made:
        await until(lambda: waits(world))
    async with told(world, cookie=mine) as ws:
        await speaks(ws)
        assert world.rdp.requests == [X224_REQUEST]
        assert not world.gate.begun
    await until(lambda: world.rdp.open == 0)


@lived()
async def test_it_ends_when_nobody_comes_and_takes_the_desktop_from_nobody(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(begun, "_HELD_SECONDS", 1.0)
    async with world.desktop("one") as one:
        await one.send_bytes(request_message())
        await one.receive()
        assert await asks(world, world.cookie("desktop")) == 200
        await until(lambda: not world.gate.begun, 20)
        await until(lambda: world.rdp.open == 1)
        assert world.gate.viewer == "one"
        await one.send_bytes(b"more")
        assert (await one.receive()).data == b"more"


@lived()
async def test_one_that_is_used_does_not_end_by_its_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(begun, "_HELD_SECONDS", 2.0)
    mine = world.cookie("desktop")
    assert await asks(world, mine) == 200
    async with told(world, cookie=mine) as ws:
        await speaks(ws)
        await asyncio.sleep(2.2)
        await ws.send_bytes(b"still")
        assert (await ws.receive()).data == b"still"


@pytest.mark.parametrize("how", ["hang_up", "reset", "refuse"])
@lived()
async def test_one_that_died_or_failed_meanwhile_is_made_anew(world: World, how: str) -> None:
    mine = world.cookie("desktop")
    world.rdp.behave = how
    assert await asks(world, mine) == 200
    await until(lambda: waits(world) and not any(one.lives for one in world.gate.begun.values()), 20)
    world.rdp.behave = "tls"
    async with told(world, cookie=mine) as ws:
        await speaks(ws)
    assert len(world.rdp.requests) == 2
    await until(lambda: world.rdp.open == 0)


@lived()
async def test_who_comes_while_it_is_made_waits_for_that_one_and_who_goes_ends_it(world: World) -> None:
    mine = world.cookie("desktop")
    world.rdp.behave = "hang"
    assert await asks(world, mine) == 200
    await until(lambda: world.rdp.open == 1)
    async with told(world, cookie=mine) as ws:
        await until(lambda: not world.gate.begun)
        assert len(world.rdp.requests) == 1
        world.renew()
        assert await code_of(ws) == 4004
    await until(lambda: world.rdp.open == 0)


@lived()
async def test_another_visitor_or_another_request_has_a_connection_of_its_own(world: World) -> None:
    mine, other = world.cookie("desktop"), world.cookie("desktop")
    assert await asks(world, mine) == 200
    await until(lambda: waits(world))
    async with told(world, cookie=other) as ws:
        await speaks(ws)
        assert len(world.rdp.requests) == 2
        assert len(world.gate.begun) == 1
    async with told(world, cookie=mine, ask=request_message(OTHER_REQUEST)) as ws:
        await speaks(ws)
        assert world.rdp.requests == [X224_REQUEST, X224_REQUEST, OTHER_REQUEST]
        assert not world.gate.begun
        await until(lambda: world.rdp.open == 1)


@lived()
async def test_a_visitor_begins_one_and_all_of_them_a_few(world: World) -> None:
    mine = world.cookie("desktop")
    for _ in range(3):
        assert await asks(world, mine) == 200
    await until(lambda: waits(world))
    assert len(world.rdp.requests) == 1
    for _ in range(8):
        assert await asks(world, world.cookie("desktop")) == 200
    await until(lambda: len(world.rdp.requests) == begun._MOST)
    assert len(world.gate.begun) == begun._MOST
    # Who is through already needs none.
    async with told(world, "late", cookie=mine) as ws:
        await ws.receive()
        assert await asks(world, mine) == 200
        assert mine.split(".")[1] not in world.gate.begun
    for one in list(world.gate.begun.values()):
        one.drop()
    await until(lambda: world.rdp.open == 0)


@lived()
async def test_strangers_and_other_roles_begin_nothing(world: World) -> None:
    ask: dict[str, Any] = {"data": json.dumps({"ask": packed(request_message())})}
    assert await world.status_of("POST", "api/desktop", **ask) == 401
    assert await world.status_of("POST", "api/desktop", world.headers("status"), **ask) == 403
    elsewhere = world.headers("desktop") | {"Origin": "http://other.example"}
    assert await world.status_of("POST", "api/desktop", elsewhere, **ask) == 403
    assert world.rdp.requests == []
    assert not world.gate.begun


@pytest.mark.parametrize("ask", ["", "A", "A+B/", 7, None, ["x"], "A" * 1401, packed(b"\x30\x00"), packed(b"x" * 90)])
@lived()
async def test_what_is_no_request_is_refused(world: World, ask: object) -> None:
    assert await asks(world, world.cookie("desktop"), ask) == 400
    assert world.rdp.requests == []
    assert not world.gate.begun


@lived()
async def test_another_certificate_hears_nothing(world: World) -> None:
    mine = world.cookie("desktop")
    world.phase("ready", certificate=tls.fingerprint(b"another"))
    assert await asks(world, mine) == 200
    async with told(world, cookie=mine) as ws:
        assert await code_of(ws) == 4003
    await until(lambda: world.rdp.open == 0)


@lived()
async def test_a_session_that_is_over_begins_none(world: World) -> None:
    world.phase("ended")
    assert await asks(world, world.cookie("desktop")) == 200
    assert not world.gate.begun
    assert world.rdp.requests == []
