"""/ws/rdp: RDP for a client in the browser. RDCleanPath first, then the bytes inside TLS.

What the client says first may come with the handshake (ahead.py): then the answers are sent unasked.

The browser cannot do TLS over a WebSocket, so we end the guest's TLS here and tell the browser the certificate; its
CredSSP is bound to that. Where the connection goes is the session's to say, never the message's.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import re
import socket as sockets
import ssl
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import cache

from aiohttp import WSMsgType, web

from ...wire import tls
from . import ahead, begun, late_input, rdcleanpath
from .ahead import Ahead
from .authentication import Visitor
from .bridge import Far, Goodbye, Socket, conversation
from .gate import GUEST_UNREACHABLE, Gate, Watcher
from .mcs import ChannelConnection
from .rdcleanpath import Error, MalformedMessage
from .responses import Refused

log = logging.getLogger(__name__)

_REQUEST_SECONDS = 10.0  # the client sends it as soon as it is connected
_CONNECT_SECONDS = 10.0  # a guest takes about one; the page waits longer (lib/rdp.js)
_TAB = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MAX_SOCKETS = 256  # a guess: one has the desktop, and a user has a few tabs
_PROTOCOL_ERROR = 1002  # RFC 6455, 7.4.1
# Winsock's numbers for what connect(2) and read(2) say.
_WSA = {
    errno.ECONNREFUSED: 10061,
    errno.ECONNRESET: 10054,
    errno.EHOSTUNREACH: 10065,
    errno.ENETUNREACH: 10051,
    errno.ETIMEDOUT: 10060,
}
_TIMED_OUT, _HANDSHAKE_FAILURE, _BAD_CERTIFICATE = 10060, 40, 42  # Winsock's WSAETIMEDOUT; TLS' alerts (RFC 8446, 6)


class NoDesktop(Exception):
    """Why there is no connection: for the client (`answer`), and in words."""

    def __init__(self, answer: bytes, reason: str, code: int = GUEST_UNREACHABLE) -> None:
        super().__init__(reason)
        self.answer, self.code = answer, code


async def serve(request: web.BaseRequest, gate: Gate, visitor: Visitor) -> web.StreamResponse:
    """GET ws/rdp?tab=ID, and perhaps what the client will say first."""
    tab, told = request.query.get("tab", ""), ahead.from_query(request.query)
    if not _TAB.fullmatch(tab):
        raise Refused(400, "'tab' names the browser's tab", "letters, digits, - and _, at most 64")
    if gate.watchers(stream=False) >= _MAX_SOCKETS:
        raise Refused(503, "too many connections are open", "close some of them")

    async def talk(socket: Socket, watcher: Watcher) -> Goodbye:
        try:
            if told:
                return await _desktop_ahead(socket, gate, tab, told, watcher)
            return await _desktop(socket, gate, tab, watcher)
        except NoDesktop as error:
            log.warning("no desktop: %s", error)
            with suppress(ConnectionError):
                await socket.ws.send_bytes(error.answer)
            return error.code, str(error)

    return await conversation(request, gate, visitor, talk, packs=True)


def begin(gate: Gate, visitor: Visitor, ask: object) -> None:
    """Begin the connection that this visitor's client will ask for by `ask`. Raises Refused."""
    try:
        x224 = _x224_of(ahead.said("ask", ask))
    except NoDesktop as error:
        raise Refused(400, "'ask' is no request of RDCleanPath", str(error)) from None
    begun.begin(gate, visitor, x224, _connect)


async def _desktop(socket: Socket, gate: Gate, tab: str, watcher: Watcher) -> Goodbye:
    """From the request to the end of the connection: how to close."""
    x224 = await _request(socket)
    if x224 is None:
        return 1000, ""
    with gate.desktop_for(tab, watcher):
        far, answer = await _connect(x224, gate)
        return await _carried(socket, gate, far, answer)


async def _desktop_ahead(socket: Socket, gate: Gate, tab: str, told: Ahead, watcher: Watcher) -> Goodbye:
    """The same with the beginning told ahead. Nobody loses the desktop before this one's client has spoken itself."""
    with ExitStack() as held, ahead.unused(gate, watcher) as unused:

        def take() -> None:
            unused.over()
            held.enter_context(gate.desktop_for(tab, watcher))

        x224 = _x224_of(told.request)
        far, answer = await begun.taken(gate, watcher.visitor, x224) or await _connect(x224, gate)
        return await _carried(socket, gate, far, answer, told.hello, take)


async def _carried(
    socket: Socket,
    gate: Gate,
    far: Far,
    answer: bytes,
    hello: bytes = b"",
    on_first: Callable[[], None] = lambda: None,
) -> Goodbye:
    """From the answer to the end of the connection: how to close."""
    try:
        await socket.ws.send_bytes(answer)
        if hello:
            await far.write(hello)
        channels = ChannelConnection(far.say)
        guest_ended = await socket.bridge(far, gate.traffic["desktop"], late_input.rdp, on_first, channels)
    except ConnectionError:
        return 1000, ""
    finally:
        far.close()
    return (1000, "the guest ended the connection") if guest_ended else (1000, "")


async def _request(socket: Socket) -> bytes | None:
    """The X.224 request in the client's RDCleanPath request; None when it went. Raises NoDesktop."""
    try:
        async with asyncio.timeout(_REQUEST_SECONDS):
            data = await _whole_message(socket)
    except MalformedMessage as error:
        raise _no_request(error) from None
    except TimeoutError:
        raise NoDesktop(rdcleanpath.pack_error(Error(http=408)), "no request came", _PROTOCOL_ERROR) from None
    return None if data is None else _x224_of(data)


def _x224_of(message: bytes) -> bytes:
    """The X.224 request in one whole message. Raises NoDesktop."""
    try:
        request = rdcleanpath.unpack_request(message)
        if request.version != rdcleanpath.VERSION:
            raise MalformedMessage("another version of RDCleanPath")
        rdcleanpath.check_connection_request(request.x224)
    except MalformedMessage as error:
        raise _no_request(error) from None
    return request.x224


def _no_request(error: MalformedMessage) -> NoDesktop:
    return NoDesktop(rdcleanpath.pack_error(Error(http=400)), str(error), _PROTOCOL_ERROR)


async def _whole_message(socket: Socket) -> bytes | None:
    """One message, which may come in pieces; None when the client went. Raises Malformed."""
    data = b""
    while (length := rdcleanpath.length(data)) is None or len(data) < length:
        message = await socket.ws.receive()
        if message.type in (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR):
            return None
        if message.type is not WSMsgType.BINARY:
            raise MalformedMessage("not a binary message")
        data += message.data
        if len(data) > rdcleanpath.MAX_MESSAGE:
            raise MalformedMessage("larger than any message")
    return data


async def _connect(x224: bytes, gate: Gate) -> tuple[Far, bytes]:
    """The guest's end within TLS, not yet read, and the answer for the client. Raises NoDesktop."""
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            wire, confirm = await _negotiate(gate.rdp, x224)
            far, chain = await _secure(wire)
    except (OSError, MalformedMessage) as error:
        raise _told(error) from None
    pinned = gate.state.get("certificate")
    if pinned and pinned != tls.fingerprint(chain[0]):
        far.close()
        answer = rdcleanpath.pack_error(Error(alert=_BAD_CERTIFICATE))
        raise NoDesktop(answer, "the guest's certificate is not the one that it had")
    return far, rdcleanpath.pack_response(confirm, chain, f"{gate.rdp[0]}:{gate.rdp[1]}")


async def _negotiate(target: tuple[str, int], x224: bytes) -> tuple[sockets.socket, bytes]:
    """A connection and the server's confirm to the client's request. Raises NoDesktop, OSError or Malformed."""
    loop = asyncio.get_running_loop()
    wire = sockets.socket(sockets.AF_INET, sockets.SOCK_STREAM)
    wire.setblocking(False)
    try:
        await loop.sock_connect(wire, target)
        wire.setsockopt(sockets.IPPROTO_TCP, sockets.TCP_NODELAY, 1)
        await loop.sock_sendall(wire, x224)
        confirm = await _exactly(wire, rdcleanpath.TPKT_HEADER)
        confirm += await _exactly(wire, rdcleanpath.tpkt_length(confirm) - len(confirm))
        if not rdcleanpath.chose_tls(confirm):
            answer = rdcleanpath.pack_error(Error(rdcleanpath.NEGOTIATION), confirm)
            raise NoDesktop(answer, "the guest's RDP server does not begin TLS")
    except BaseException:
        wire.close()
        raise
    return wire, confirm


async def _exactly(wire: sockets.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = await asyncio.get_running_loop().sock_recv(wire, count - len(data))
        if not more:
            raise ConnectionResetError(errno.ECONNRESET, "the guest hung up")
        data += more
    return data


async def _secure(wire: sockets.socket) -> tuple[Far, list[bytes]]:
    """TLS on the connection, and the server's certificates as DER, leaf first. Raises OSError."""
    transport, far = await asyncio.get_running_loop().create_connection(
        Far, sock=wire, ssl=_context(), server_hostname=""
    )
    chain = transport.get_extra_info("ssl_object").get_unverified_chain()
    if not chain:
        far.close()
        raise ssl.SSLError("the server showed no certificate")
    return far, [bytes(certificate) for certificate in chain]


@cache
def _context() -> ssl.SSLContext:
    """A guest's certificate is of its own making; the session's state knows which one it is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _told(error: OSError | MalformedMessage) -> NoDesktop:
    """What went wrong with the guest, as something to answer."""
    match error:
        case TimeoutError():
            return NoDesktop(rdcleanpath.pack_error(Error(wsa=_TIMED_OUT)), "the guest's RDP server does not answer")
        case ssl.SSLError():
            return NoDesktop(rdcleanpath.pack_error(Error(alert=_HANDSHAKE_FAILURE)), "TLS with the guest failed")
        case OSError():
            wsa = _WSA.get(error.errno or 0, 0)
            return NoDesktop(rdcleanpath.pack_error(Error(wsa=wsa)), "the guest's RDP server cannot be reached")
    return NoDesktop(rdcleanpath.pack_error(Error(http=502)), f"the guest's RDP server answered with {error}")
