"""The HTTP surface against made-up requests: a stranger gets nothing, nobody gets a traceback, the gateway lives on."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest
from gateway_world import TOKENS, World, opened
from hypothesis import example, given
from hypothesis import strategies as st

CORPUS = sorted((Path(__file__).parents[2] / "corpus" / "http").iterdir())
GIVEN_AWAY = (b"pass-word", b"not for the web", b"Traceback", b"blue-fox/rdp.sock", b"<title>desktop", b"set-cookie")
STATUSES = frozenset(b"100 200 303 400 401 403 404 405 408 413 415 421 429 431 501".split())


class Server:
    """A world on a loop of its own, so that hypothesis can call from outside."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._ready: asyncio.Future[World] = self._loop.create_future()
        self._over = asyncio.Event()
        self._thread = Thread(target=self._loop.run_until_complete, args=(self._live(),))

    async def _live(self) -> None:
        async with opened() as world:
            world.gate.guesses.DELAY_SECONDS = 0.0
            self._ready.set_result(world)
            await self._over.wait()

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()
        self._loop.close()

    def answer(self, request: bytes) -> bytes:
        """What comes back within a second for these bytes, and an end of input."""
        return asyncio.run_coroutine_threadsafe(self._answer(request), self._loop).result(30)

    def alive(self) -> bool:
        """Whether a good request is served."""
        return b"\r\n\r\nok" in self.answer(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")

    async def _answer(self, request: bytes) -> bytes:
        world = await self._ready
        reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
        got = b""
        try:
            writer.write(request)
            writer.write_eof()
            async with asyncio.timeout(1.0):
                while data := await reader.read(65536):
                    got += data
        except (OSError, TimeoutError):
            pass
        finally:
            writer.transport.abort()
        return got


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as one:
        yield one


def check(server: Server, request: bytes) -> None:
    answer = server.answer(request)
    for secret in GIVEN_AWAY:
        assert secret not in answer.lower() or secret == b"set-cookie" and TOKENS["desktop"].encode() in request
    for status in re.findall(rb"HTTP/1\.[01] (\d\d\d) ", answer):
        assert status in STATUSES, answer
    said, _, _ = answer.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n").partition(b"\r\n\r\n")
    assert not said or b"\r\nServer: 7lbd" in said, answer  # whoever answered, it is dressed as all are
    assert server.alive()


def words(text: str) -> list[str]:
    return text.split(" ")


METHODS = st.sampled_from([*words("GET POST HEAD PUT OPTIONS TRACE CONNECT PRI get"), "", "GET GET"])
WORDS = words("api status desktop ws rdp console assets login.js .. . %2e%2e %2f node 7 rnode metrics healthz login")
PATHS = st.lists(st.sampled_from([*WORDS, *words(" logout %00 ~ * ?tab=a #x secret.txt \\ ;")]), max_size=6).map(
    lambda parts: "/" + "/".join(parts)
)
NAMES = st.sampled_from(
    words("Host Cookie Origin Authorization Content-Length Transfer-Encoding Upgrade Connection Range Expect If-Range")
    + words("X-Forwarded-Host X-Forwarded-Proto Content-Type Content-Encoding Accept")
)
VALUES = st.sampled_from(
    words("x 127.0.0.1 sevenlbd-blue-fox=desktop.a.b chunked -1 5 99999999999999999999 websocket Upgrade 100-continue")
    + words("bytes=0-0 bytes=-1 http://x null  text/event-stream application/x-www-form-urlencoded gzip br */*")
    + ["Bearer x", "Basic x", "chunked, chunked", "a" * 5000]
) | st.text(st.characters(codec="latin-1"), max_size=30)
BODIES = st.sampled_from(
    ["", "token=x", "5\r\ntoken\r\n0\r\n\r\n", "{}", "ffffffffffffffff\r\n", "0\r\n\r\n"]
) | st.text(max_size=50)


@given(
    METHODS,
    PATHS,
    st.sampled_from(["HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "", "X"]),
    st.lists(st.tuples(NAMES, VALUES), max_size=8),
    BODIES,
)
@example("GET", "/assets/../secret.txt", "HTTP/1.1", [("Host", "x")], "")
@example("POST", "/login", "HTTP/1.1", [("Transfer-Encoding", "chunked"), ("Content-Length", "5")], "0\r\n\r\n")
@example("POST", "/login", "HTTP/1.1", [("Content-Encoding", "gzip"), ("Content-Length", "5")], "token=x")
@example("GET", "/ws/rdp?tab=a", "HTTP/1.1", [("Upgrade", "websocket"), ("Connection", "Upgrade")], "x")
def test_requests_with_some_sense(
    server: Server, method: str, path: str, version: str, headers: list[tuple[str, str]], body: str
) -> None:
    lines = [f"{method} {path} {version}", *(f"{name}: {value}" for name, value in headers), "", body]
    check(server, "\r\n".join(lines).encode("latin-1", errors="replace"))


@given(st.binary(max_size=500))
def test_requests_without_any(server: Server, request_: bytes) -> None:
    check(server, request_)


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_what_was_found_before_stays_mended(server: Server, path: Path) -> None:
    check(server, path.read_bytes())


def test_there_is_a_corpus() -> None:
    assert len(CORPUS) >= 5
