"""The proxy against servers that are real and guests that are not nice."""

from __future__ import annotations

import asyncio
import errno
import re
import socket
import threading
import time
from asyncio import StreamReader as Reader
from asyncio import StreamWriter as Writer
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from egress_world import HOME, Serve, World, echo, live, reset, server, until, world
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sevenlbd.outside.egress.relay import proxy, proxy_hosts, reach
from sevenlbd.outside.egress.relay.allowed import PROXY_PORT, Allowed, Pattern
from sevenlbd.wire.forwards import Forward

NAME = "portal.example.edu"
CORPUS = sorted((Path(__file__).parents[3] / "corpus" / "proxy").iterdir())


class Site:
    """A portal that keeps what it is asked, and a proxy that leads there by name."""

    def __init__(self, here: World, door: tuple[str, int], port: int) -> None:
        self.here, self.door, self.port = here, door, port

    async def ask(self, request: bytes, *, more: bool = False, seconds: float = 5.0) -> bytes:
        """All that comes back for these bytes; with `more` the guest does not say that this is all."""
        reader, writer = await asyncio.open_connection(*self.door)
        got = b""
        try:
            writer.write(request)
            if not more:
                writer.write_eof()
            async with asyncio.timeout(seconds):
                while data := await reader.read(65536):
                    got += data
        except (ConnectionError, TimeoutError):
            pass
        finally:
            writer.transport.abort()
        return got


@asynccontextmanager
async def site(serve: Serve, *patterns: Pattern, **orders: Any) -> AsyncIterator[Site]:
    async with server(serve) as port:
        listed = patterns or tuple(Pattern(scheme, NAME, port, port) for scheme in ("http", "https"))
        pinned = ((NAME, HOME),)
        async with world(Allowed(proxy=listed, pinned=pinned, **orders)) as here:
            yield Site(here, here.open(Forward("proxy", HOME, PROXY_PORT)), port)


def keeps(into: list[bytes], answer: bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") -> Serve:
    """A server that keeps a whole request with its body, answers, and closes."""

    async def serve(reader: Reader, writer: Writer) -> None:
        got = await reader.readuntil(b"\r\n\r\n")
        if length := re.search(rb"(?i)content-length: (\d+)", got):
            got += await reader.readexactly(int(length[1]))
        elif b"chunked" in got.lower():
            got += await reader.readuntil(b"0\r\n\r\n")
        into.append(got)
        writer.write(answer)
        await writer.drain()

    return serve


def status(answer: bytes) -> int:
    found = re.match(rb"HTTP/1\.1 (\d{3}) ", answer)
    assert found, answer
    return int(found[1])


@live
async def test_connect_gives_a_way_for_anything() -> None:
    async with site(echo) as portal:
        request = f"CONNECT {NAME}:{portal.port} HTTP/1.1\r\nHost: {NAME}:{portal.port}\r\n\r\n".encode()
        # TLS's first words often come with the request, before any answer.
        answer = await portal.ask(request + b"\x16\x03\x01first words")
        assert answer == b"HTTP/1.1 200 Connection established\r\n\r\n\x16\x03\x01first words"
        record = (await portal.here.recorded())[0]
    assert (record["kind"], record["host"], record["address"], record["port"]) == ("connect", NAME, HOME, portal.port)
    assert (record["up"], record["down"]) == (14, 14)


@live
async def test_a_large_transfer_through_connect_is_whole() -> None:
    data = bytes(range(256)) * 40_000
    async with site(echo) as portal:
        answer = await portal.ask(
            f"CONNECT {NAME}:{portal.port} HTTP/1.1\r\nHost: x\r\n\r\n".encode() + data, seconds=20
        )
    assert answer.partition(b"\r\n\r\n")[2] == data


@live
async def test_a_plain_request_is_written_anew_with_the_host_that_was_checked() -> None:
    seen: list[bytes] = []
    async with site(keeps(seen)) as portal:
        answer = await portal.ask(
            f"GET http://{NAME}:{portal.port}/a?b HTTP/1.1\r\nHost: evil.example\r\nProxy-Connection: keep-alive\r\n"
            "Connection: close, X-Secret\r\nX-Secret: 1\r\nProxy-Authorization: Basic eA==\r\nUpgrade: websocket\r\n"
            "TE: trailers\r\nAccept: */*\r\n\r\n".encode()
        )
    assert status(answer) == 200
    assert answer.endswith(b"\r\n\r\nok")
    assert b"Via: 1.1 7lbd\r\n" in answer
    head, *rest = seen[0].decode().splitlines()
    assert head == "GET /a?b HTTP/1.1"
    assert sorted(filter(None, rest)) == sorted(
        [f"Host: {NAME}:{portal.port}", "Accept: */*", "Via: 1.1 7lbd", "Connection: close"]
    )


@live
async def test_bodies_go_up_in_both_framings_and_a_waiting_guest_is_told_to_go_on() -> None:
    seen: list[bytes] = []
    async with site(keeps(seen)) as portal:
        post = f"POST http://{NAME}:{portal.port}/ HTTP/1.1\r\nHost: x\r\n"
        assert status(await portal.ask(f"{post}Content-Length: 5\r\n\r\nhello".encode())) == 200
        chunked = "Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\nTrailer: x\r\n\r\n"
        assert status(await portal.ask(f"{post}{chunked}".encode())) == 200
        reader, writer = await asyncio.open_connection(*portal.door)
        writer.write(f"{post}Expect: 100-continue\r\nContent-Length: 5\r\n\r\n".encode())
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        writer.write(b"hello")
        assert status(await reader.readuntil(b"ok")) == 200
        writer.close()
    assert seen[0].endswith(b"\r\n\r\nhello")
    assert seen[1].endswith(b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n")
    assert b"Expect" not in seen[2]


@live
async def test_many_requests_on_one_connection_each_reach_their_own_server() -> None:
    first: list[bytes] = []
    second: list[bytes] = []
    async with server(keeps(first)) as one, server(keeps(second)) as other:
        patterns = tuple(Pattern("http", NAME, port, port) for port in (one, other))
        async with site(echo, *patterns) as portal:
            requests = [
                f"GET http://{NAME}:{port}/{n} HTTP/1.1\r\nHost: x\r\n\r\n" for n in (1, 2) for port in (one, other)
            ]
            answers = await portal.ask("".join(requests).encode())
    assert answers.count(b"HTTP/1.1 200 OK") == 4
    assert [data.split()[1] for data in first] == [data.split()[1] for data in second] == [b"/1", b"/2"]


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", b"3\r\nabc\r\n0\r\n\r\n"),
        (b"HTTP/1.0 200 OK\r\n\r\nabc", b"3\r\nabc\r\n0\r\n\r\n"),
        (b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n", b""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 200 OK\r\n\r\nsmuggled", b"abc"),
    ],
)
@live
async def test_every_kind_of_answer_ends_where_it_ends(answer: bytes, body: bytes) -> None:
    async with site(keeps([], answer)) as portal:
        got = await portal.ask(f"GET http://{NAME}:{portal.port}/ HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert got.partition(b"\r\n\r\n")[2] == body
    assert b"smuggled" not in got


@live
async def test_a_head_has_no_body() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"
    async with site(keeps([], answer)) as portal:
        got = await portal.ask(f"HEAD http://{NAME}:{portal.port}/ HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert status(got) == 200
    assert got.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 20_000,
        b"HTTP/1.1 101 Switching Protocols\r\n\r\nx",
        b"HTTP/1.1 099 What\r\n\r\n",
    ],
    ids=["nothing", "garbage", "no length", "endless head", "another protocol", "no status"],
)
@live
async def test_a_server_that_makes_no_sense_is_a_bad_gateway(answer: bytes) -> None:
    async with site(keeps([], answer)) as portal:
        got = await portal.ask(f"GET http://{NAME}:{portal.port}/ HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        record = (await portal.here.recorded())[0]
    assert status(got) == 502
    assert record["end"] in ("server: malformed", "server: reset by server")


@live
async def test_a_server_that_breaks_off_is_told_from_one_that_ends() -> None:
    async with site(keeps([], b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")) as portal:
        reader, writer = await asyncio.open_connection(*portal.door)
        writer.write(f"GET http://{NAME}:{portal.port}/ HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert b"half" in await reader.readuntil(b"half")
        with pytest.raises(ConnectionResetError):
            await reader.read(1)
        writer.close()


@live
async def test_an_answer_that_comes_before_the_body_is_passed_on() -> None:
    async def too_large(reader: Reader, writer: Writer) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        await reader.read(-1)

    async with site(too_large) as portal:
        head = f"POST http://{NAME}:{portal.port}/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n".encode()
        assert status(await portal.ask(head + bytes(1000), more=True)) == 413


@live
async def test_a_guest_that_breaks_off_takes_its_request_with_it() -> None:
    ended = asyncio.get_running_loop().create_future()

    async def waits(reader: Reader, writer: Writer) -> None:
        await reader.readuntil(b"\r\n\r\n")
        ended.set_result(await reader.read(-1))

    async with site(waits) as portal:
        _, writer = await asyncio.open_connection(*portal.door)
        writer.write(
            f"POST http://{NAME}:{portal.port}/ HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf".encode()
        )
        await asyncio.sleep(0.1)
        reset(writer)
        assert await ended == b"half"
        await until(lambda: portal.here.house.slots.taken == 0)
        assert (await portal.here.recorded())[0]["end"].startswith("guest: ")


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ("CONNECT other.example.edu:{port} HTTP/1.1\r\nHost: x\r\n\r\n", 403),
        ("CONNECT portal.example.edu:1 HTTP/1.1\r\nHost: x\r\n\r\n", 403),
        ("CONNECT 127.0.0.1:{port} HTTP/1.1\r\nHost: portal.example.edu\r\n\r\n", 403),
        ("CONNECT [::ffff:127.0.0.1]:{port} HTTP/1.1\r\nHost: x\r\n\r\n", 403),
        ("CONNECT [::1]:{port} HTTP/1.1\r\nHost: x\r\n\r\n", 403),
        ("CONNECT 0.0.0.0:{port} HTTP/1.1\r\nHost: x\r\n\r\n", 403),
        ("CONNECT 2130706433:{port} HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ("CONNECT 0x7f.1:{port} HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ("CONNECT portal.example.edu:{port} HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nabcd", 400),
        ("CONNECT portal.example.edu:{port} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        ("GET http://other.example.edu:{port}/ HTTP/1.1\r\nHost: portal.example.edu:{port}\r\n\r\n", 403),
        ("GET https://portal.example.edu:{port}/ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: portal.example.edu:{port}\r\n\r\n", 400),
        ("TRACE http://portal.example.edu:{port}/ HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        ("GET http://portal.example.edu:{port}/ HTTP/1.1\r\n\r\n", 400),
        ("GET http://portal.example.edu:{port}/ HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
        ("GET http://portal.example.edu:{port}/ HTTP/2.0\r\nHost: x\r\n\r\n", 505),
        ("GET http://portal.example.edu:{port}/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        ("POST http://portal.example.edu:{port}/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n"
         "Content-Length: 2\r\n\r\nab", 400),
        ("POST http://portal.example.edu:{port}/ HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        ("GET http://portal.example.edu:{port}/ HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n", 400),
        ("GET http://portal.example.edu:{port}/ HTTP/1.1\r\nHost: x\r\nA: b\r\n\tc: d\x00\r\n\r\n", 400),
        ("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    ],
)  # fmt: skip
@live
async def test_what_is_not_right_reaches_nobody(request_: str, expected: int) -> None:
    reached: list[bytes] = []
    async with site(keeps(reached)) as portal:
        answer = await portal.ask(request_.format(port=portal.port).encode("latin-1"))
        record = (await portal.here.recorded())[0]
    assert status(answer) == expected
    assert b"Connection: close" in answer
    assert not reached
    assert record["refused"]


@live
async def test_a_smuggled_request_is_a_request_like_any_other() -> None:
    """Two lengths: the coding counts, for us and, since it is all that is passed on, for the server."""
    seen: list[bytes] = []
    async with site(keeps(seen)) as portal:
        inner = "GET http://other.example.edu/ HTTP/1.1\r\nHost: x\r\n\r\n"
        post = f"POST http://{NAME}:{portal.port}/ HTTP/1.1\r\nHost: x\r\nContent-Length: {5 + len(inner)}\r\n"
        answers = await portal.ask(f"{post}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{inner}".encode())
        named = f"POST http://{NAME}:{portal.port}/ HTTP/1.1\r\nHost: x\r\nConnection: content-length\r\n"
        named += "Content-Length: 3\r\n\r\nabc"
        assert status(await portal.ask(named.encode())) == 200
    assert re.findall(rb"HTTP/1\.1 (\d+)", answers) == [b"200", b"403"]
    assert b"Content-Length" not in seen[0]
    assert seen[0].endswith(b"\r\n\r\n0\r\n\r\n")
    assert seen[1].endswith(b"\r\n\r\nabc")


@live
async def test_a_slow_head_ends_and_takes_nothing_from_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy, "_HEAD_SECONDS", 0.5)
    async with site(echo, connections=20) as portal:
        began = time.monotonic()

        async def drip() -> None:
            _, writer = await asyncio.open_connection(*portal.door)
            for letter in b"GET http://portal.example.edu/ HTTP/1.1\r\nX-":
                writer.write(bytes([letter]))
                await asyncio.sleep(0.02)

        slow = [asyncio.create_task(drip()) for _ in range(10)]
        await until(lambda: portal.here.house.slots.taken == 10)
        answer = await portal.ask(f"CONNECT {NAME}:{portal.port} HTTP/1.1\r\nHost: x\r\n\r\nx".encode())
        assert status(answer) == 200
        await until(lambda: portal.here.house.slots.taken == 0)
        assert time.monotonic() - began < 20
        await asyncio.gather(*slow, return_exceptions=True)


@pytest.mark.parametrize(
    "head", [b"GET http://x/" + b"a" * 200_000, b"GET http://x/ HTTP/1.1\r\n" + b"A: b\r\n" * 40_000]
)
@live
async def test_an_endless_head_is_cut(head: bytes) -> None:
    async with site(echo) as portal:
        assert status(await portal.ask(head, more=True)) == 431


@live
async def test_a_name_that_leads_home_is_refused_unless_the_site_says_so() -> None:
    async with server(echo) as port:
        listed = tuple(Pattern("https", host, port, port) for host in ("localhost", "home.example.edu", HOME))
        async with world(Allowed(proxy=listed, pinned=(("home.example.edu", HOME),))) as here:
            portal = Site(here, here.open(Forward("proxy", HOME, PROXY_PORT)), port)
            request = "CONNECT {}:{} HTTP/1.1\r\nHost: x\r\n\r\nhello"
            refused = await portal.ask(request.format("localhost", port).encode())
            assert status(refused) == 502
            assert b"loopback" in refused
            assert (await here.recorded())[0]["refused"]
            for host in ("home.example.edu", HOME):
                assert (await portal.ask(request.format(host, port).encode())).endswith(b"hello")


@live
async def test_a_name_is_looked_up_once_and_connected_to_by_what_was_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: the second look-up would say something else."""
    asked: list[bytes] = []

    def answers(host: bytes, *_: object, **__: object) -> list[Any]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1" if len(asked) == 1 else HOME, 0))]

    reached: list[str] = []

    async def refuse(address: str, port: int, **_: object) -> socket.socket:
        reached.append(address)
        raise TimeoutError

    async with site(echo, Pattern("https", "*.example.org", 443, 443)) as portal:
        monkeypatch.setattr(socket, "getaddrinfo", answers)
        monkeypatch.setattr(reach, "tcp", refuse)
        request = b"CONNECT rebind.example.org:443 HTTP/1.1\r\nHost: x\r\n\r\n"
        first, second = await portal.ask(request), await portal.ask(request)
    assert asked == [b"rebind.example.org."] * 2
    assert reached == ["192.0.2.1"]
    assert (status(first), status(second)) == (502, 502)
    assert b"loopback" in second


@live
async def test_names_that_nobody_answers_for_hold_up_no_other_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as there are: each keeps one thread, and is told at once the second time."""
    enough, asked = threading.Event(), list[bytes]()

    def answers(host: bytes, *_: object, **__: object) -> list[Any]:
        asked.append(host)
        if host.startswith(b"slow"):
            enough.wait(20)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 0))]

    async def refuse(*_: object, **__: object) -> socket.socket:
        raise ConnectionRefusedError(errno.ECONNREFUSED, "refused")

    monkeypatch.setattr(proxy_hosts, "_SECONDS", 2.0)
    monkeypatch.setattr(socket, "getaddrinfo", answers)
    monkeypatch.setattr(reach, "tcp", refuse)
    listed = [Pattern("https", host, 443, 443) for host in ("*.example.org", "portal.example.org")]
    async with site(echo, *listed) as portal:

        async def ask(host: str) -> bytes:
            return await portal.ask(f"CONNECT {host}.example.org:443 HTTP/1.1\r\nHost: x\r\n\r\n".encode())

        asking = [asyncio.create_task(ask(f"slow{number}")) for number in range(60)]
        await until(lambda: len(asked) == 48)
        assert b"refused" in await ask("portal")
        assert status(await ask("other")) == 503
        answers_ = await asyncio.gather(*asking)
        assert sorted(map(status, answers_)) == [503] * 12 + [504] * 48
        assert all(b"no name server answered" in answer for answer in answers_ if status(answer) == 504)
        began = time.monotonic()
        assert status(await ask("slow0")) == 504
        assert time.monotonic() - began < 1.5
        assert len(asked) == 49
        assert list(portal.here.house.health.told().met) == ["names"]
        enough.set()


@live
async def test_a_user_who_may_have_no_more_threads_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async with site(echo, Pattern("https", "*.example.org", 443, 443)) as portal:
        monkeypatch.setattr(threading.Thread, "start", fail)
        assert status(await portal.ask(b"CONNECT a.example.org:443 HTTP/1.1\r\nHost: x\r\n\r\n")) == 503


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (socket.EAI_NONAME, b"there is no such name"),
        (socket.EAI_NODATA, b"it has no address"),
        (socket.EAI_AGAIN, b"no name server answered"),
        (socket.EAI_FAIL, b"the name server failed"),
    ],
)
@live
async def test_what_is_wrong_with_a_name_is_said(monkeypatch: pytest.MonkeyPatch, code: int, says: bytes) -> None:
    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(code, "x")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    async with site(echo, Pattern("https", "*.example.org", 443, 443)) as portal:
        assert says in await portal.ask(b"CONNECT a.example.org:443 HTTP/1.1\r\nHost: x\r\n\r\n")


@pytest.mark.parametrize(("size", "code"), [(65536, 200), (65537, 431)])
@live
async def test_the_limit_of_a_head_is_exact(size: int, code: int) -> None:
    async def answers(reader: Reader, writer: Writer) -> None:
        got = b""
        while not got.endswith(b"\r\n\r\n"):
            got += await reader.read(1000)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async with site(answers) as portal:
        start = f"GET http://{NAME}:{portal.port}/ HTTP/1.1\r\nHost: x\r\nX: ".encode()
        request = start + b"a" * (size - len(start) - 4) + b"\r\n\r\n"
        assert len(request) == size
        assert status(await portal.ask(request)) == code


@live
async def test_the_browsers_page_is_there() -> None:
    async with site(echo) as portal:
        for path in ("/proxy.pac", "/wpad.dat"):
            answer = await portal.ask(f"GET {path} HTTP/1.1\r\nHost: 169.254.100.2:3128\r\n\r\n".encode())
            assert status(answer) == 200
            assert b"Content-Type: application/x-ns-proxy-autoconfig" in answer
            assert b"function FindProxyForURL" in answer


@live
async def test_a_plain_answer_keeps_to_the_rate() -> None:
    size = 400_000
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size)
    async with site(keeps([], answer), rate=300_000) as portal:
        began = time.monotonic()
        got = await portal.ask(f"GET http://{NAME}:{portal.port}/ HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert len(got) > size
        assert 0.8 < time.monotonic() - began < 30


class Fuzzed:
    """One proxy for all inputs, and a server at an address that nobody may reach."""

    def __init__(self) -> None:
        self.reached = 0

    def answer(self, request: bytes) -> bytes:
        return asyncio.run(self._answer(request))

    async def _answer(self, request: bytes) -> bytes:
        async def forbidden(reader: Reader, writer: Writer) -> None:
            self.reached += 1

        failures: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
        async with server(forbidden) as port, world(Allowed(proxy=(Pattern("https", NAME, 443, 443),))) as here:
            portal = Site(here, here.open(Forward("proxy", HOME, PROXY_PORT)), port)
            got = await portal.ask(request.replace(b"PORT", b"%d" % port), seconds=2.0)
            await until(lambda: here.house.slots.taken == 0)
        assert not failures, failures
        return got


def words(text: str) -> list[str]:
    return text.split(" ")


METHODS = st.sampled_from([*words("CONNECT GET POST HEAD OPTIONS TRACE PRI connect"), "", "GET GET"])
TARGETS = st.sampled_from(
    words("127.0.0.1:PORT localhost:PORT [::1]:PORT [::ffff:127.0.0.1]:PORT 2130706433:PORT 0x7f.1:PORT 127.1:PORT")
    + words(
        "0:PORT 0.0.0.0:PORT http://127.0.0.1:PORT/ http://localhost:PORT http://x@127.0.0.1:PORT/ / * //127.1:PORT"
    )
    + words("portal.example.edu:443@127.0.0.1:PORT http://portal.example.edu#@127.0.0.1:PORT/ 017700000001:PORT ?")
) | st.text(st.characters(codec="latin-1"), max_size=40)
NAMES = st.sampled_from(
    words("Host Connection Proxy-Connection Content-Length Transfer-Encoding Expect Upgrade X-Forwarded-Host Via TE")
)
VALUES = st.sampled_from(
    words("x 127.0.0.1:PORT chunked -1 5 99999999999999999999 100-continue close keep-alive,host h2c identity")
) | st.text(st.characters(codec="latin-1"), max_size=30)
BODIES = st.sampled_from(
    [
        "",
        "0\r\n\r\n",
        "5\r\nhello\r\n0\r\n\r\n",
        "ffffffffffffffffff\r\n",
        "GET http://127.0.0.1:PORT/ HTTP/1.1\r\nHost: x\r\n\r\n",
    ]
) | st.text(max_size=50)


def check(request: bytes) -> None:
    fuzzed = Fuzzed()
    answer = fuzzed.answer(request)
    assert not fuzzed.reached, request
    for found in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer):
        assert found in (b"200", b"400", b"403", b"405", b"431", b"501", b"502", b"505"), answer
    assert b" 200 Connection" not in answer


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    METHODS,
    TARGETS,
    st.sampled_from(["HTTP/1.1", "HTTP/1.0", "HTTP/2", ""]),
    st.lists(st.tuples(NAMES, VALUES), max_size=6),
    BODIES,
)
@example("CONNECT", "127.0.0.1:PORT", "HTTP/1.1", [("Host", "portal.example.edu:443")], "")
def test_nothing_that_has_some_sense_reaches_what_is_not_listed(
    method: str, wanted: str, version: str, headers: list[tuple[str, str]], body: str
) -> None:
    lines = [f"{method} {wanted} {version}", *(f"{name}: {value}" for name, value in headers), "", body]
    check("\r\n".join(lines).encode("latin-1", errors="replace"))


@settings(max_examples=40)
@given(st.binary(max_size=400))
def test_nothing_without_sense_does(request_: bytes) -> None:
    check(request_)


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_what_was_found_before_stays_mended(path: Path) -> None:
    check(path.read_bytes())
