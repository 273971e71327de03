"""A gateway's visitors, each for a moment, of every kind that leaves something to be tidied up. Runs in the SIF.

Those who log in, read pages in each coding and look at the screen, and those who just go: in the middle of a request,
of a handshake of TLS or of a WebSocket's, of RDCleanPath, of a picture; by a reset line, or without a word.
"""

from __future__ import annotations

import asyncio
import base64
import os
import random
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

_RESET = struct.pack("ii", 1, 0)  # socket(7), SO_LINGER: close() says RST
_PATIENCE = 5.0  # seconds; a gateway that is asked by dozens at once answers within one

Ended = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Place:
    """Where the gateway is, and what opens it."""

    port: int
    folder: Path
    token: str
    pages: tuple[str, ...]
    rdp_request: bytes
    tls: bool = False
    cookie: str = ""
    drawn: random.Random = field(default_factory=random.Random)
    """What each visitor does exactly."""

    def head(self, method: str, path: str, **more: str) -> bytes:
        """A request's head, by somebody who is in."""
        scheme = "https" if self.tls else "http"
        fields = {"Host": "localhost", "Origin": f"{scheme}://localhost", "Cookie": self.cookie} | more
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
        return f"{method} /{path} HTTP/1.1\r\n{lines}\r\n".encode()

    async def opened(self) -> Ended:
        """A connection, by TLS if that is spoken there."""
        if not self.tls:
            return await asyncio.open_connection("127.0.0.1", self.port)
        return await asyncio.open_connection("127.0.0.1", self.port, ssl=_anybody(), server_hostname="localhost")


def _anybody() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


async def log_in(place: Place) -> None:
    """With the right key: what comes is kept."""
    answer = await _asked(place, _login(place, place.token))
    for line in answer.decode("latin-1").split("\r\n"):
        name, _, value = line.partition(": ")
        if name.lower() == "set-cookie":
            place.cookie = value.partition(";")[0]
    assert place.cookie, answer[:500]


async def guess(place: Place) -> None:
    """With a wrong one, and gone before the answer."""
    await _sent(place, _login(place, "x" * 43))


async def read_pages(place: Place) -> None:
    """Some files, in one coding, by one connection that is kept."""
    coding = place.drawn.choice(("br", "gzip", "identity", "gzip, br"))
    reader, writer = await place.opened()
    try:
        for path in place.drawn.sample(place.pages, min(5, len(place.pages))):
            writer.write(place.head("GET", path, Accept_Encoding=coding))
            await _answer(reader)
    finally:
        _leave(place, writer)


async def leave_a_page(place: Place) -> None:
    """The largest of files, and gone after its first bytes."""
    reader, writer = await place.opened()
    for path in place.pages:
        writer.write(place.head("GET", path))
    await reader.read(1000)
    _leave(place, writer)


async def stop_asking(place: Place) -> None:
    """A request that ends in its middle, or is none."""
    whole = place.head("GET", "desktop", X_Long="x" * place.drawn.randrange(1, 9000))
    await _sent(place, whole[: place.drawn.randrange(1, len(whole))] if place.drawn.random() < 0.7 else os.urandom(300))


async def status(place: Place) -> None:
    """The session's state, once."""
    await _asked(place, place.head("GET", "api/status", Connection="close"))


async def follow(place: Place) -> None:
    """The stream of events, left after the first."""
    reader, writer = await place.opened()
    writer.write(place.head("GET", "api/status", Accept="text/event-stream"))
    await reader.readuntil(b"data: ")
    _leave(place, writer)


async def look(place: Place) -> None:
    """The machine's screen, until there is a picture, or a part of one."""
    reader, writer = await _upgraded(place, "ws/console")
    await reader.readexactly(place.drawn.choice((12, 1000, 300_000)))
    _leave(place, writer)


async def desktop(place: Place) -> None:
    """RDCleanPath, TLS with the guest, and some of what it sends; or gone in the middle."""
    reader, writer = await _upgraded(place, f"ws/rdp?tab=t{place.drawn.randrange(1000)}")
    request = place.rdp_request
    if place.drawn.random() < 0.3:
        request = request[: place.drawn.randrange(len(request))]
    writer.write(_frame(request))
    if request == place.rdp_request:
        await reader.readexactly(place.drawn.choice((10, 300, 100_000)))
    _leave(place, writer)


async def say_goodbye(place: Place) -> None:
    """A viewer that closes as it should."""
    reader, writer = await _upgraded(place, "ws/console")
    await reader.readexactly(12)
    writer.write(bytes((0x88, 0x80)) + bytes(4))
    await reader.read(4096)
    writer.close()


async def native(place: Place) -> None:
    """A native client, through the socket in the folder."""
    name = place.drawn.choice(("vnc", "rdp"))
    reader, writer = await asyncio.open_unix_connection(str(place.folder / f"{name}.sock"))
    writer.write(b"x" * place.drawn.randrange(1, 5000))
    if name == "vnc":
        await reader.readexactly(12)
    _leave(place, writer)


async def break_tls(place: Place) -> None:
    """A handshake that ends somewhere, or is refused by us at its end."""
    if not place.tls:
        return
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    hello = (_anybody() if place.drawn.random() < 0.5 else ssl.create_default_context()).wrap_bio(
        incoming, outgoing, server_hostname="localhost"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", place.port)
    for _ in range(place.drawn.randrange(1, 4)):
        with suppress(ssl.SSLError):
            hello.do_handshake()
            break
        writer.write(outgoing.read())
        incoming.write(await reader.read(65536))
    writer.write(outgoing.read() if place.drawn.random() < 0.5 else os.urandom(100))
    _leave(place, writer)


async def metrics(place: Place) -> None:
    """What a monitoring system asks for."""
    await _asked(place, place.head("GET", "metrics", Connection="close"))


KINDS: tuple[Callable[[Place], Awaitable[None]], ...] = (
    *(log_in, guess, read_pages, leave_a_page, stop_asking, status, follow, look, look, look),
    *(desktop, desktop, say_goodbye, native, break_tls),
)


async def turn(place: Place, visitors: int) -> None:
    """So many of them at once, in an order of the draw's; what the gateway does to them is not asked here."""
    kinds = [place.drawn.choice(KINDS) for _ in range(visitors)]
    await asyncio.gather(*(_visit(kind, place) for kind in kinds))


async def _visit(kind: Callable[[Place], Awaitable[None]], place: Place) -> None:
    with suppress(OSError, EOFError, TimeoutError, asyncio.LimitOverrunError):
        async with asyncio.timeout(_PATIENCE):
            await kind(place)


def _login(place: Place, token: str) -> bytes:
    body = urlencode({"token": token})
    kind = "application/x-www-form-urlencoded"
    head = place.head("POST", "login", Content_Type=kind, Content_Length=str(len(body)), Connection="close")
    return head + body.encode()


async def _asked(place: Place, request: bytes) -> bytes:
    reader, writer = await place.opened()
    try:
        writer.write(request)
        return await reader.read()
    finally:
        writer.close()


async def _sent(place: Place, data: bytes) -> None:
    _, writer = await place.opened()
    writer.write(data)
    _leave(place, writer)


async def _answer(reader: asyncio.StreamReader) -> None:
    """One answer, which says its length."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    if b"content-length: " in head:
        await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]))


async def _upgraded(place: Place, path: str) -> Ended:
    reader, writer = await place.opened()
    key = base64.b64encode(os.urandom(16)).decode()
    more = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec_WebSocket_Version": "13", "Sec_WebSocket_Key": key}
    writer.write(place.head("GET", path, **more))
    head = await reader.readuntil(b"\r\n\r\n")
    if b" 101 " not in head:
        _leave(place, writer)
        raise ConnectionError(head.decode("latin-1"))
    return reader, writer


def _frame(data: bytes) -> bytes:
    """One whole message of a client's (RFC 6455, 5.2), by a mask that changes nothing."""
    return struct.pack(">BBH", 0x82, 0xFE, len(data)) + bytes(4) + data


def _leave(place: Place, writer: asyncio.StreamWriter) -> None:
    """With a reset, at once, or as one does."""
    how, wire = place.drawn.random(), writer.get_extra_info("socket")
    if how < 0.4 and wire.family == socket.AF_INET:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    if how < 0.7:
        writer.transport.abort()
    else:
        writer.close()
