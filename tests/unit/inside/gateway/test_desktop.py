"""/ws/rdp: RDCleanPath over real WebSockets, against an RDP server that behaves and ones that do not."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest
from gateway_world import (
    X224_CONFIRM,
    X224_REFUSAL,
    X224_REQUEST,
    World,
    certificate,
    lived,
    request_message,
    until,
)
from pyasn1.codec.der import decoder
from sevenlbd.inside.gateway import desktop, rdcleanpath
from sevenlbd.wire import tls
from sevenlbd.wire.gateway import FarewellSaid

WS = aiohttp.ClientWebSocketResponse[bool]


def opened(answer: bytes) -> dict[str, Any]:
    """The fields of an RDCleanPath message from the gateway."""
    message, rest = decoder.decode(answer, asn1Spec=rdcleanpath._Message())
    assert not rest
    fields: dict[str, Any] = {"version": int(message["version"])}
    for name in ("http", "wsa", "alert", "code"):
        if message["error"].isValue and message["error"][name].isValue:
            fields[name] = int(message["error"][name])
    if message["x224"].isValue:
        fields["x224"] = bytes(message["x224"])
    if message["chain"].isValue:
        fields["chain"] = [bytes(one) for one in message["chain"]]
    if message["server_addr"].isValue:
        fields["server_addr"] = str(message["server_addr"])
    return fields


async def answer_to(ws: WS, *pieces: bytes) -> dict[str, Any]:
    for piece in pieces or (request_message(),):
        await ws.send_bytes(piece)
    message = await ws.receive()
    assert message.type is aiohttp.WSMsgType.BINARY, message
    return opened(message.data)


async def code_of(ws: WS) -> int | None:
    """The code that it is closed with."""
    while (message := await ws.receive()).type is aiohttp.WSMsgType.BINARY:
        pass
    assert message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSING), message
    return ws.close_code


async def echoes(ws: WS, data: bytes = b"hello") -> bool:
    await ws.send_bytes(data)
    back = b""
    while len(back) < len(data):
        back += (await ws.receive()).data
    return back == data


@lived()
async def test_the_desktop_opens_and_carries_both_ways(world: World) -> None:
    async with world.desktop() as ws:
        answer = await answer_to(ws)
        assert answer == {
            "version": 3390,
            "x224": X224_CONFIRM,
            "chain": [certificate()],
            "server_addr": f"127.0.0.1:{world.gate.rdp[1]}",
        }
        assert world.rdp.requests == [X224_REQUEST]
        for size in (1, 125, 126, 127, 65535, 65536, 300_000):
            assert await echoes(ws, bytes(range(256)) * (size // 256) + bytes(size % 256))
        assert world.gate.traffic["desktop"].now == 1
    await until(lambda: world.rdp.open == 0)
    traffic = world.gate.traffic["desktop"]
    assert (traffic.now, traffic.opened, traffic.up) == (0, 1, traffic.down)


@lived()
async def test_the_target_is_not_the_messages_to_say(world: World) -> None:
    for destination in ("192.0.2.1:3389", "", "file:///etc/passwd", "127.0.0.1:1", "\0", "x" * 1000):
        async with world.desktop() as ws:
            assert "chain" in await answer_to(ws, request_message(destination=destination))
    assert len(world.rdp.requests) == 6


@lived()
async def test_a_request_may_come_in_pieces(world: World) -> None:
    message = request_message()
    async with world.desktop() as ws:
        assert "chain" in await answer_to(ws, *(bytes([byte]) for byte in message))
    async with world.desktop() as ws:
        assert "chain" in await answer_to(ws, message[:1], b"", message[1:])


BAD = {
    "garbage": b"GET / HTTP/1.1\r\n\r\n",
    "empty sequence": b"\x30\x00",
    "indefinite length": b"\x30\x80" + bytes(10),
    "length of lengths": b"\x30\x84\x7f\xff\xff\xff",
    "too large": b"\x30\x83\x01\x00\x00" + bytes(100),
    "two messages": request_message() * 2,
    "another version": request_message(version=3389),
    "no version to speak of": request_message(version=-(1 << 200)),
    "no X.224": request_message(x224=b""),
    "X.224 of another kind": request_message(x224=X224_CONFIRM),
    "X.224 and more": request_message(x224=X224_REQUEST + b"more"),
    "X.224 cut": request_message(x224=X224_REQUEST[:-1]),
    "no RDP at all": request_message(x224=b"SSH-2.0-x\r\n"),
    "text in a number": b"\x30\x05\xa0\x03\x0c\x01a",
    "deep": b"\x30\x82\x02\x00" + b"\x30\x80" * 256,
}


@pytest.mark.parametrize("kind", BAD)
@lived()
async def test_a_bad_request_is_answered_and_reaches_nobody(world: World, kind: str) -> None:
    async with world.desktop() as ws:
        answer = await answer_to(ws, BAD[kind])
        assert (answer["code"], answer["http"]) == (1, 400)
        assert await code_of(ws) == 1002
    assert world.rdp.requests == []
    assert world.gate.viewer == ""


@lived()
async def test_a_request_that_never_ends_is_cut_off(world: World) -> None:
    async with world.desktop() as ws:
        await ws.send_bytes(b"\x30\x82\xff\x00")
        for _ in range(70):
            await ws.send_bytes(bytes(1000))
        assert opened((await ws.receive()).data)["http"] == 400
        assert await code_of(ws) == 1002


@lived()
async def test_text_is_no_request(world: World) -> None:
    async with world.desktop() as ws:
        await ws.send_str("hello")
        assert opened((await ws.receive()).data)["http"] == 400


@lived()
async def test_a_request_has_to_come_in_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desktop, "_REQUEST_SECONDS", 0.2)
    async with world.desktop() as ws:
        await ws.send_bytes(request_message()[:10])
        assert opened((await ws.receive()).data)["http"] == 408
        assert await code_of(ws) == 1002


# What the server does: what the client is told.
TROUBLE: dict[str, dict[str, Any]] = {
    "refuse": {"code": 2, "x224": X224_REFUSAL},
    "old": {"code": 2, "x224": bytes.fromhex("0300000b06d000001234 00")},
    "hang": {"code": 1, "wsa": 10060},
    "hang_in_tls": {"code": 1, "wsa": 10060},
    "no_tls_after_all": {"code": 1, "alert": 40},
    "reset": {"code": 1, "wsa": 10054},
    "garbage": {"code": 1, "http": 502},
}


@pytest.mark.parametrize("behave", TROUBLE)
@lived()
async def test_a_server_in_trouble_is_told_apart(world: World, behave: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desktop, "_CONNECT_SECONDS", 1.0)
    world.rdp.behave = behave
    async with world.desktop() as ws:
        assert await answer_to(ws) == {"version": 3390} | TROUBLE[behave]
        assert await code_of(ws) == 4003
    await until(lambda: world.rdp.open == 0)
    await until(lambda: world.gate.viewer == "")
    world.rdp.behave = "tls"
    async with world.desktop() as ws:
        assert "chain" in await answer_to(ws)


@lived()
async def test_a_server_that_is_not_there(world: World) -> None:
    world.rdp.stop()
    async with world.desktop() as ws:
        assert await answer_to(ws) == {"version": 3390, "code": 1, "wsa": 10061}
        assert await code_of(ws) == 4003


@lived()
async def test_the_certificate_is_pinned(world: World) -> None:
    world.phase("ready", certificate=tls.fingerprint(certificate()))
    async with world.desktop() as ws:
        assert (await answer_to(ws))["chain"] == [certificate()]
    world.phase("ready", certificate=tls.fingerprint(b"another"))
    async with world.desktop() as ws:
        assert await answer_to(ws) == {"version": 3390, "code": 1, "alert": 42}
        assert await code_of(ws) == 4003


@lived()
async def test_the_newest_tab_has_the_desktop(world: World) -> None:
    async with world.desktop("one") as one:
        await answer_to(one)
        assert world.gate.viewer == "one"
        async with world.desktop("two") as two:
            await answer_to(two)
            assert await code_of(one) == 4001
            assert world.gate.viewer == "two"
            async with world.client.get(world.url("api/status"), headers=world.headers("status")) as answer:
                assert (await answer.json())["viewer"] == "two"
            assert await echoes(two)
            # A tab that reconnects takes its own place.
            async with world.desktop("two") as again:
                await answer_to(again)
                assert await code_of(two) == 4001
                assert await echoes(again)
    await until(lambda: world.gate.viewer == "")
    await until(lambda: world.rdp.open == 0)


@lived()
async def test_who_says_nothing_takes_nothing_over(world: World) -> None:
    async with world.desktop("one") as one:
        await answer_to(one)
        async with world.desktop("two") as two:
            await two.send_bytes(b"nonsense")
            assert await code_of(two) == 1002
            assert await echoes(one)
            assert world.gate.viewer == "one"


@lived()
async def test_many_tabs_at_once_leave_one(world: World) -> None:
    async def view(tab: str) -> int | None:
        async with world.desktop(tab) as ws:
            await ws.send_bytes(request_message())
            try:
                async with asyncio.timeout(3):
                    return await code_of(ws)
            except TimeoutError:
                return None

    codes = await asyncio.gather(*(view(f"t{number}") for number in range(20)))
    assert codes.count(4001) == 19
    assert codes.count(None) == 1


@lived()
async def test_renewal_closes_the_desktop(world: World) -> None:
    async with world.desktop() as ws:
        await answer_to(ws)
        world.renew()
        assert await code_of(ws) == 4004
    async with world.desktop() as ws:
        assert "chain" in await answer_to(ws)


@pytest.mark.parametrize("behave", ["tls", "hang"])
@lived()
async def test_the_sessions_end_closes_the_desktop(world: World, behave: str) -> None:
    world.rdp.behave = behave
    async with world.desktop() as ws:
        await ws.send_bytes(request_message())
        await until(lambda: world.gate.viewer == "t1")
        world.phase("ended")
        assert await code_of(ws) == 4002
    await until(lambda: FarewellSaid() in world.asked)
    async with world.desktop() as ws:
        assert await code_of(ws) == 4002


@lived()
async def test_the_guests_goodbye_is_carried_to_its_end(world: World) -> None:
    world.rdp.behave = "goodbye"
    async with world.desktop() as ws:
        await answer_to(ws)
        assert (await ws.receive()).data == b"bye"
        assert await code_of(ws) == 1000


@lived()
async def test_a_flood_arrives_whole(world: World) -> None:
    world.rdp.behave = "flood"
    async with world.desktop(max_msg_size=0) as ws:
        await answer_to(ws)
        got = 0
        while got < 256 * 65536:
            got += len((await ws.receive()).data)
        assert got == 256 * 65536


@pytest.mark.parametrize("tab", ["", "a b", "x" * 65, "%00", "<b>"])
@lived()
async def test_a_tab_has_a_name(world: World, tab: str) -> None:
    assert await world.status_of("GET", f"ws/rdp?tab={tab}", world.headers("desktop")) == 400
    assert await world.status_of("GET", "ws/rdp", world.headers("desktop")) == 400


@lived()
async def test_a_client_that_goes_leaves_nothing(world: World) -> None:
    for when in ("before", "between", "after"):
        ws = await world.client.ws_connect(world.url("ws/rdp?tab=a"), headers=world.headers("desktop"))
        if when != "before":
            await ws.send_bytes(request_message())
        if when == "after":
            await ws.receive()
        assert ws._response.connection
        transport = ws._response.connection.transport
        assert transport
        transport.abort()
    await until(lambda: world.rdp.open == 0)
    await until(lambda: world.gate.viewer == "")
    await until(lambda: world.gate.watchers(stream=False) == 0)


@lived(tls=True)
async def test_it_works_over_tls(world: World) -> None:
    origin = f"https://127.0.0.1:{world.port}"
    headers = {"Cookie": world.cookie("desktop"), "Origin": origin}
    async with world.client.ws_connect(f"{origin}/ws/rdp?tab=a", headers=headers, ssl=False, max_msg_size=0) as ws:
        assert "chain" in await answer_to(ws)
        for size in (1, 70_000, 1_000_000):
            assert await echoes(ws, bytes(size))
