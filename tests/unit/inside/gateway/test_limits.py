"""What a stranger may cost, with real sockets: slow, large and many."""

from __future__ import annotations

import asyncio
import re
import resource
import ssl
import time
from contextlib import suppress
from dataclasses import replace

import pytest
from gateway_world import TOKENS, World, lived, until
from sevenlbd.inside.gateway import admission, api, limits, server

HEAD = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n"
GOOD = HEAD + b"\r\n"


async def answers(world: World) -> bool:
    return await world.status_of("GET", "healthz") == 200


async def seconds_until_hung_up(reader: asyncio.StreamReader) -> float:
    begin = time.monotonic()
    with suppress(ConnectionError):
        await reader.read()
    return time.monotonic() - begin


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deadlines short enough to be waited for."""
    monkeypatch.setattr(limits, "_LIMITS", replace(limits._LIMITS, ask=0.5, idle=1.5))
    monkeypatch.setattr(admission, "WAIT_SECONDS", 0.5)
    monkeypatch.setattr(api, "_BODY_SECONDS", 0.5)


@pytest.mark.parametrize("sent", [b"", b"G", HEAD, HEAD + b"X: "])
@pytest.mark.usefixtures("quick")
@lived()
async def test_headers_have_to_come_in_time(world: World, sent: bytes) -> None:
    reader, writer = await world.wire()
    writer.write(sent)
    assert 0.2 < await seconds_until_hung_up(reader) < 3
    writer.close()


@pytest.mark.usefixtures("quick")
@lived()
async def test_a_drip_of_headers_is_no_way_around(world: World) -> None:
    reader, writer = await world.wire()
    gone = asyncio.create_task(seconds_until_hung_up(reader))
    for byte in HEAD:
        writer.write(bytes([byte]))
        await asyncio.sleep(0.05)
        if gone.done():
            break
    assert await gone < 3
    assert await answers(world)


@pytest.mark.usefixtures("quick")
@lived()
async def test_the_next_request_has_a_deadline_too(world: World) -> None:
    reader, writer = await world.wire()
    writer.write(GOOD)
    await reader.readuntil(b"ok")
    await asyncio.sleep(0.8)  # idle is allowed for longer than headers are
    writer.write(HEAD)
    assert 0.2 < await seconds_until_hung_up(reader) < 1.2
    reader, writer = await world.wire()
    writer.write(GOOD)
    await reader.readuntil(b"ok")
    assert 1.0 < await seconds_until_hung_up(reader) < 4


@pytest.mark.usefixtures("quick")
@lived()
async def test_a_body_has_to_come_in_time(world: World) -> None:
    reader, writer = await world.wire()
    writer.write(
        b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n"
        b"Content-Type: application/x-www-form-urlencoded\r\n\r\ntoken="
    )
    assert (await reader.readline()).split()[1] == b"408"
    assert await seconds_until_hung_up(reader) < 5
    writer.close()


@lived()
async def test_who_goes_in_the_middle_is_not_worth_a_word(world: World, caplog: pytest.LogCaptureFixture) -> None:
    for body in (b"", b"token="):
        _, writer = await world.wire()
        writer.write(
            b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n"
            b"Content-Type: application/x-www-form-urlencoded\r\n\r\n" + body
        )
        await asyncio.sleep(0.1)
        writer.transport.abort()
    await asyncio.sleep(0.1)
    assert await answers(world)
    assert not caplog.records


@pytest.mark.usefixtures("quick")
@lived()
async def test_a_busy_connection_is_not_on_the_clock(world: World) -> None:
    async with world.console() as ws:
        await ws.receive()
        await asyncio.sleep(2.0)
        await ws.send_bytes(b"still there")
        assert (await ws.receive()).data == b"still there"


@pytest.mark.parametrize(
    "request_head",
    [
        b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        HEAD + b"X: " + b"a" * 9000 + b"\r\n\r\n",
        HEAD + b"X" * 9000 + b": a\r\n\r\n",
        HEAD + b"".join(b"X-%d: a\r\n" % number for number in range(200)) + b"\r\n",
    ],
    ids=["line", "value", "name", "number"],
)
@lived()
async def test_large_headers_are_refused(world: World, request_head: bytes) -> None:
    answer = await world.raw(request_head)
    assert answer.split()[1] in (b"400", b"431")
    assert b"Content-Security-Policy" in answer
    assert await answers(world)


@lived()
async def test_too_many_cookies_get_a_page_with_a_name_for_it(world: World) -> None:
    """What other pages have set for the same name goes along, a portal's session in pieces, say."""
    answer = (await world.raw(HEAD + b"Cookie: " + b"mod_auth=a; " * 900 + b"\r\n\r\n")).decode()
    assert answer.split()[1] == "431"
    assert "text/html" in answer
    assert "cookies" in answer.partition("<h1>")[2]
    assert "mod_auth" not in answer
    assert "Content-Security-Policy" in answer


@lived()
async def test_headers_without_end_are_cut_off(world: World) -> None:
    reader, writer = await world.wire()
    sent = 0
    gone = asyncio.create_task(seconds_until_hung_up(reader))
    writer.write(HEAD)
    while not gone.done() and sent < 20_000_000:
        writer.write(b"X: " + b"a" * 4000 + b"\r\n")
        sent += 4000
        await asyncio.sleep(0)
        if writer.transport.get_write_buffer_size() > 1_000_000:
            break
    assert await gone < 5
    assert await answers(world)


@pytest.mark.parametrize("garbage", [b"\x16\x03\x01\x02\x00\x01\x00\x01", b"\0" * 1000, b"SSH-2.0-x\r\n", b"\r\n" * 50])
@pytest.mark.usefixtures("quick")
@lived()
async def test_garbage_is_answered_shortly_or_not_at_all(world: World, garbage: bytes) -> None:
    with suppress(ConnectionError):
        answer = await world.raw(garbage)
        assert not answer or answer.split()[1] == b"400"
    assert await answers(world)


@lived()
async def test_pipelined_requests_are_all_answered(world: World) -> None:
    answer = await world.raw(GOOD * 100 + HEAD + b"Connection: close\r\n\r\n")
    assert answer.count(b"HTTP/1.1 200 OK") == 101


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A waiting room that is soon full."""
    monkeypatch.setattr(server, "_WAITING", 100)


@pytest.mark.usefixtures("few")
@lived()
async def test_the_newest_stranger_pushes_out_the_oldest(world: World) -> None:
    wires = [await world.wire() for _ in range(150)]
    await until(wires[49][0].at_eof)
    assert all(reader.at_eof() for reader, _ in wires[:50])
    assert not any(reader.at_eof() for reader, _ in wires[50:])
    for _, writer in wires:
        writer.close()


@lived(seconds=120.0)
async def test_ten_thousand_strangers_keep_no_user_out(world: World) -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = min(10_000, soft // 2 - 1000)
    async with world.console() as ws:
        await ws.receive()
        wires = []
        slowest = 0.0
        for number in range(most):
            wires.append(await world.wire())
            if number % 500 == 0:
                wires[-1][1].write(b"GET /")
                begin = time.monotonic()
                assert await world.status_of("GET", "api/status", world.headers("status")) == 200
                assert await world.status_of("POST", "login", data={"token": TOKENS["status"]}) == 303
                slowest = max(slowest, time.monotonic() - begin)
        assert most >= 1000
        assert slowest < 5
        await ws.send_bytes(b"still there")
        assert (await ws.receive()).data == b"still there"
        for _, writer in wires:
            writer.transport.abort()


@pytest.mark.usefixtures("quick")
@lived(tls=True)
async def test_a_handshake_has_to_come_in_time(world: World) -> None:
    reader, writer = await world.wire()
    writer.write(b"\x16\x03\x01")
    assert await seconds_until_hung_up(reader) < 5
    writer.close()


@lived(tls=True)
async def test_plain_http_on_the_tls_port_gets_nothing(world: World) -> None:
    with suppress(ConnectionError):
        assert b"200" not in await world.raw(GOOD)


@lived(tls=True)
async def test_old_tls_is_refused(world: World) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection("127.0.0.1", world.port, ssl=context)


@lived()
async def test_who_shows_a_cookie_is_no_stranger(world: World) -> None:
    reader, writer = await world.wire()
    writer.write(f"GET /api/status HTTP/1.1\r\nHost: x\r\nCookie: {world.cookie('status')}\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"Content-Length: (\d+)", head)
    assert length, head
    await reader.readexactly(int(length[1]))
    strangers = [await world.wire() for _ in range(server._STRANGERS + 10)]
    for _, other in strangers:
        other.write(GOOD)
    await until(lambda: strangers[-1][0].at_eof() or bool(strangers[-1][0]._buffer))  # type: ignore[attr-defined]  # unread
    writer.write(GOOD)
    assert b"200 OK" in await reader.readuntil(b"ok")
    for _, other in [*strangers, (reader, writer)]:
        other.close()
