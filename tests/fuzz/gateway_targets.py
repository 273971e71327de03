"""What strangers and browsers send to the gateway: nobody gets a secret, nobody a traceback, and it lives on."""

from __future__ import annotations

import asyncio
import base64
import logging
import socket
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from aiohttp import web
from pyasn1.codec.der import encoder
from sevenlbd.inside.gateway import (
    authentication,
    desktop,
    first_bytes,
    late_input,
    limits,
    mcs,
    metrics,
    native_relay,
    rdcleanpath,
)
from sevenlbd.inside.gateway.app import Gate, application
from sevenlbd.inside.gateway.bridge import Far
from sevenlbd.inside.gateway.fairness import Slots, Visit
from sevenlbd.inside.gateway.gate import SESSION_ENDED
from sevenlbd.wire.gateway import Front

from .target import Parse, Target

_REPO = Path(__file__).parents[2]
_PAGES = _REPO / "containers" / "appliance" / "web"
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


class _Failures(logging.Handler):
    """What is raised where nobody hears of it but a log: in a task, or when an answer has begun."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.told.append(logging.Formatter().format(record))


class _Gateway:
    """One gateway for all inputs; each comes as a connection of its own, in two pieces."""

    TURNS = 6
    """Of the loop, after each piece."""
    GIVEN_AWAY: tuple[bytes, ...] = (b"pass-word", b"Set-Cookie", b"<title>desktop", b"Traceback")

    def __init__(self, pages: Path) -> None:
        self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self._loop)
        self.gate = Gate(lambda asked: None, ("127.0.0.1", 1), "/nonexistent")
        self.gate.on_front(_FRONT)
        self.gate.guesses.DELAY_SECONDS = 0.0
        self._server = self._loop.run_until_complete(self._made(pages))
        self._slots = Slots(1, 0.0)

    def __call__(self, data: bytes) -> None:
        """No secret comes back, and nothing is raised."""
        self._loop.run_until_complete(self._serve(data))

    async def _made(self, pages: Path) -> web.Server:
        return application(self.gate, pages)

    async def _serve(self, data: bytes) -> None:
        failures = _Failures()
        self._loop.set_exception_handler(lambda _, context: failures.told.append(str(context)))
        logging.getLogger().addHandler(failures)
        try:
            written = await self._visited(data)
            await self._over()
        finally:
            logging.getLogger().removeHandler(failures)
        assert not failures.told, "\n".join(failures.told)
        assert not any(secret in written for secret in self.GIVEN_AWAY), written
        assert b"HTTP/1.1 500" not in written, written

    async def _visited(self, data: bytes) -> bytes:
        protocol = limits.Guarded(self._server, Visit(""), self._slots, lambda: False, known=False)
        wire = _Wire()
        protocol.connection_made(wire)
        half = len(data) // 2
        for piece in (data[:half], data[half:]):
            protocol.data_received(piece)
            await self._turn(self.TURNS)
        protocol.connection_lost(None)
        await self._turn(3)
        return bytes(wire.written)

    async def _turn(self, times: int) -> None:
        for _ in range(times):
            await asyncio.sleep(0)

    async def _over(self) -> None:
        """What comes next meets nothing of what came before."""


class _Entered(_Gateway):
    """The same to somebody who has logged in: his cookie stands behind each input's first line.

    The guest's RDP server and the machine's screen are ends of sockets, that take everything and say little.
    """

    TURNS = 30
    GIVEN_AWAY = (b"Traceback", b"ab" * 32, b"00" * 32)
    _COOKIE = "desktop.fuzz"

    def __init__(self, pages: Path) -> None:
        super().__init__(pages)
        mac = authentication._mac(self._COOKIE, _FRONT.cookie_key)
        self._line = f"Cookie: {authentication.cookie_name(_FRONT.session)}={self._COOKIE}.{mac}\r\n".encode()
        self._guests: list[socket.socket] = []

    async def _visited(self, data: bytes) -> bytes:
        first, end, rest = data.partition(b"\n")
        with (
            patch.object(desktop, "_connect", self._connected),
            patch.object(native_relay, "connect", self._screen),
            patch.object(metrics, "_smb_operations", self._no_operations),
        ):
            return await super()._visited(first + end + self._line + rest if end else data)

    async def _connected(self, _x224: bytes, _gate: Gate) -> tuple[Far, bytes]:
        _, far = await self._loop.create_connection(Far, sock=self._guest_end(b"hello"))
        return far, b"the guest's answer"

    async def _screen(self, _path: str) -> socket.socket:
        return self._guest_end(b"RFB 003.008\n")

    def _guest_end(self, says: bytes) -> socket.socket:
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setblocking(False)
        theirs.send(says)
        self._guests.append(theirs)
        return ours

    async def _no_operations(self) -> dict[str, int]:
        return {}

    async def _over(self) -> None:
        self.gate.end(lambda _: True, SESSION_ENDED, "the next input comes")
        for begun in list(self.gate.begun.values()):
            begun.drop()
        for guest in self._guests:
            guest.close()
        await self._turn(5)
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        if rest:
            await asyncio.wait(rest)
        assert not self.gate.begun
        assert not self.gate.unused
        assert not self.gate.viewer
        self._guests.clear()
        self.gate._left.clear()


def _late_input(data: bytes) -> None:
    """What is typed late: what is delivered of it lets go, is well formed, and would be delivered again as it is."""
    for sieve in (late_input.rdp, late_input.rfb):
        kept = sieve(data)
        assert len(kept) <= len(data) + 4, (data, kept)
        assert sieve(kept) == kept, (data, kept)
    freshness = late_input.Freshness(lambda: 1e9)
    if freshness.repeated(data.decode("latin-1")):
        assert isinstance(freshness.late, bool)


def _channels(data: bytes) -> None:
    """A client and a guest in turns: nothing of the client's is lost but what was said for it, and little is said.

    A piece is the client's or the guest's by its first byte, and as long as its second says.
    """
    said: list[bytes] = []
    channels = mcs.ChannelConnection(said.append)
    mine, heard = b"", b""
    while len(data) > 1:
        whose, piece, data = data[0], data[2 : 2 + data[1]], data[2 + data[1] :]
        if whose & 1:
            channels.from_guest(memoryview(piece))
        else:
            mine += piece
            heard += channels.from_client(piece)
    assert len(heard) + len(b"".join(said)) >= len(mine), (mine, heard, said)
    assert len(said) < 64


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
    return _Gateway(_PAGES)


def _entered() -> Parse:
    return _Entered(_PAGES)


def _request(first: str, body: bytes = b"", *more: str) -> bytes:
    head = [f"{first} HTTP/1.1", "Host: x", "Origin: http://x", *more]
    head += ["Content-Type: application/json", f"Content-Length: {len(body)}"] if body else []
    return "".join(f"{line}\r\n" for line in [*head, ""]).encode() + body


def _socket(path: str, *messages: bytes) -> bytes:
    """A WebSocket's handshake, and frames in a mask that changes nothing (RFC 6455, 5.2)."""
    key = "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg=="
    more = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", key)
    frames = (bytes((kind, 0x80 | len(data))) + bytes(4) + data for kind, data in map(_framed, messages))
    return _request(f"GET /{path}", b"", *more) + b"".join(frames)


def _framed(message: bytes) -> tuple[int, bytes]:
    return (0x81, message) if message.isdigit() else (0x82, message)


def _entered_seeds() -> tuple[bytes, ...]:
    message = rdcleanpath._Message()
    message["version"], message["destination"], message["proxy_auth"] = rdcleanpath.VERSION, "192.0.2.7:3389", "none"
    message["x224"] = bytes.fromhex("03000013 0e e0 0000 0000 00 01 00 0800 0b000000")
    asked = bytes(encoder.encode(message))
    ask = base64.urlsafe_b64encode(asked).decode().rstrip("=")
    press, key = bytes.fromhex("04 04 00 1e"), bytes.fromhex("04 01 0000 00000061")
    return (
        _request("POST /api/stop", b'{"now":true,"heard":99999999999.5}'),
        _request("POST /api/suspend", b'{"heard":1}'),
        _request("POST /api/desktop", b'{"ask":"%s"}' % ask.encode()),
        _request("POST /logout"),
        _request("POST /api/client"),
        _request("GET /api/status"),
        _request("GET /api/status", b"", "Accept: text/event-stream"),
        _request("GET /api/desktop.rdp") + _request("GET /metrics"),
        _socket(f"ws/rdp?tab=t1&ask={ask}&hello=aGVsbG8", b"1", press),
        _socket("ws/rdp?tab=t1", asked, b"1", press),
        _socket("ws/console", b"1", key),
    )


def _late_seeds() -> tuple[bytes, ...]:
    keys = "08 06 00 1e 01 1e", "00 0c 02 00 1e 20 0090 0100 0200", "04 80 05 01 1e"
    screen = "04 01 0000 00000061", "05 00 0001 0002", "ff 00 0000 00000061 0000001e"
    return (*map(bytes.fromhex, (*keys, *screen)), b"1764000000.5")


def _channel_seeds() -> tuple[bytes, ...]:
    initial = bytes.fromhex("0300001102f0807f658201730401010401")
    skips, joins = (
        bytes.fromhex(
            "0300006802f0807f665e0a0100020100301a020122020103020100020101020100020101020300fff8020102043a000500147c0001"
            f"2a14760a01010001c0004d63446e24010c1000040008000b000000{flags}000000030c0800eb030000020c0c000000000000000000"
        )
        for flags in ("08", "00")
    )
    attached = bytes.fromhex("0300000b02f0802e000003")
    joined = b"".join(bytes.fromhex(f"0300000f02f0803e000003{channel}{channel}") for channel in ("03ec", "03eb"))
    mine = mcs.ERECT_DOMAIN + mcs.ATTACH_USER + bytes.fromhex("0300000c02f08038000303eb0300000c02f08038000303ec")

    def turns(*pieces: bytes) -> bytes:
        return b"".join(bytes([place % 2, len(piece)]) + piece for place, piece in enumerate(pieces))

    return turns(initial, skips + attached, mine[:20]), turns(initial, joins, mine[:20], attached + joined, mine[20:])


_GATEWAY = "sevenlbd.inside.gateway"
TARGETS = (
    Target("rdcleanpath", lambda: _rdcleanpath, (_GATEWAY, "pyasn1"), lambda: _corpus("rdcleanpath")),
    Target("http", _http, (_GATEWAY, "aiohttp"), lambda: _corpus("http")),
    Target("http-entered", _entered, (_GATEWAY, "aiohttp"), _entered_seeds),
    Target("channels", lambda: _channels, (_GATEWAY,), _channel_seeds, 1024),
    Target("late-input", lambda: _late_input, (_GATEWAY,), _late_seeds, 1024),
    Target("first-bytes", lambda: _first_bytes, (_GATEWAY,), _hello, 2048),
    Target("headers", lambda: _headers, (_GATEWAY, "http.cookies", "urllib.parse"), _header_seeds, 1024),
)
