"""What strangers and browsers send to the gateway: nobody gets a secret, nobody a traceback, and it lives on."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from aiohttp import web
from sevenlbd.inside.gateway import authentication, first_bytes, limits, rdcleanpath
from sevenlbd.inside.gateway.app import Gate, application
from sevenlbd.inside.gateway.fairness import Slots, Visit
from sevenlbd.wire.gateway import Front

from .target import Parse, Target

_REPO = Path(__file__).parents[2]
_GIVEN_AWAY = (b"pass-word", b"Set-Cookie", b"<title>desktop", b"Traceback")
_FRONT = Front(
    session="blue-fox",
    account="user1",
    password="pass-word",
    tokens={"desktop": "00" * 32},
    cookie_key="ab" * 32,
    portals=("https://ondemand.example.edu",),
    hosts=("x", "127.0.0.1"),
    console=True,
    clipboard=True,
    login="ann",
    host="node7",
    folder="/tmp/7lbd-1000/blue-fox",
    native=None,
)


def _rdcleanpath(data: bytes) -> None:
    """A request comes out, or Malformed, and nothing else."""
    with suppress(rdcleanpath.MalformedMessage):
        rdcleanpath.length(data)
        request = rdcleanpath.unpack_request(data)
        rdcleanpath.check_connection_request(request.x224)
    with suppress(rdcleanpath.MalformedMessage):
        rdcleanpath.chose_tls(data)


class _Wire(asyncio.Transport):
    """A connection without a kernel: keeps what the gateway writes."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass


class _Gateway:
    """One gateway for all inputs; each comes as a connection of its own, in two pieces."""

    def __init__(self, pages: Path) -> None:
        self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self._loop)
        self._gate = Gate(lambda asked: None, ("127.0.0.1", 1), "/nonexistent")
        self._gate.on_front(_FRONT)
        self._gate.guesses.DELAY_SECONDS = 0.0
        self._server = self._loop.run_until_complete(self._made(pages))
        self._slots = Slots(1, 0.0)

    def __call__(self, data: bytes) -> None:
        """No secret comes back, and nothing is raised."""
        self._loop.run_until_complete(self._serve(data))

    async def _made(self, pages: Path) -> web.Server:
        return application(self._gate, pages)

    async def _serve(self, data: bytes) -> None:
        failures: list[Any] = []
        self._loop.set_exception_handler(lambda _, context: failures.append(context))
        protocol = limits.Guarded(self._server, Visit(""), self._slots, lambda: False, known=False)
        wire = _Wire()
        protocol.connection_made(wire)
        half = len(data) // 2
        for piece in (data[:half], data[half:]):
            protocol.data_received(piece)
            for _ in range(6):
                await asyncio.sleep(0)
        protocol.connection_lost(None)
        for _ in range(3):
            await asyncio.sleep(0)
        assert not failures, failures
        assert not any(secret in wire.written for secret in _GIVEN_AWAY), bytes(wire.written)
        assert b"HTTP/1.1 500" not in wire.written, bytes(wire.written)


def _first_bytes(data: bytes) -> None:
    """What is told from a connection's first bytes: a stranger stays one, a ClientHello is waited for."""
    assert first_bytes.of_http(data, _FRONT) is not first_bytes.Verdict.KNOWN
    assert first_bytes.of_tls(data) is not first_bytes.Verdict.KNOWN
    assert len(data) < 64 << 10 or first_bytes.of_tls(data) is not first_bytes.Verdict.WAIT


def _headers(data: bytes) -> None:
    """Cookies, bearers, hosts and origins: no made-up one opens anything, and each of our own does."""
    text = data.decode("latin-1")
    assert not list(authentication.visitors([text], _FRONT.session, _FRONT.cookie_key))
    assert not authentication.role_of_token(authentication.bearer(text), _FRONT.tokens)
    host, _, origin = text.partition("\n")
    if authentication.host_allowed(host, origin, _FRONT):
        name = authentication.split_host(host)
        assert name is not None
        assert name[0] in (*_FRONT.hosts, "ondemand.example.edu"), host
    authentication.origin_allowed(origin, host, _FRONT)
    authentication.origin_allowed(origin, host, replace(_FRONT, portals=()))
    kept = authentication.make_cookie("desktop", _FRONT.cookie_key)
    assert authentication.read_cookie(kept, _FRONT.cookie_key) is not None


def _corpus(name: str) -> tuple[bytes, ...]:
    return tuple(path.read_bytes() for path in sorted((_REPO / "tests" / "unit" / "corpus" / name).iterdir()))


def _hello() -> tuple[bytes, ...]:
    return b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", b"POST /login HTTP/1.1\r\n\r\ntoken=AAAA"


def _header_seeds() -> tuple[bytes, ...]:
    cookie = f"{authentication.cookie_name(_FRONT.session)}={authentication.make_cookie('desktop', 'cd' * 32)}"
    return cookie.encode(), b"Bearer abc", b"127.0.0.1:80\nhttps://ondemand.example.edu", b"x\nhttp://x:80"


def _http() -> Parse:
    return _Gateway(_REPO / "containers" / "appliance" / "web")


_GATEWAY = "sevenlbd.inside.gateway"
TARGETS = (
    Target("rdcleanpath", lambda: _rdcleanpath, (_GATEWAY, "pyasn1"), lambda: _corpus("rdcleanpath")),
    Target("http", _http, (_GATEWAY, "aiohttp"), lambda: _corpus("http")),
    Target("first-bytes", lambda: _first_bytes, (_GATEWAY,), _hello, 2048),
    Target("headers", lambda: _headers, (_GATEWAY, "http.cookies", "urllib.parse"), _header_seeds, 1024),
)
