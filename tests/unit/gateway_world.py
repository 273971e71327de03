"""A gateway in this process with all around it: pages, a supervisor, QEMU's socket, an RDP server, and strangers."""

from __future__ import annotations

import asyncio
import datetime
import functools
import gzip
import hashlib
import inspect
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pyasn1.codec.der import encoder
from sevenlbd.inside.gateway import authentication, native_relay, rdcleanpath
from sevenlbd.inside.gateway.app import Gate, application
from sevenlbd.inside.gateway.peers import Peers
from sevenlbd.inside.gateway.server import Listener, serve
from sevenlbd.inside.gateway.traffic import Traffic
from sevenlbd.wire.gateway import Asked, BundleWanted, Front, NativeTls

SESSION = "blue-fox"
TOKENS = {role: f"{role}-token".ljust(43, "x") for role in ("desktop", "console", "status")}
FRONT = Front(
    session=SESSION,
    account="user1",
    password="pass-word",
    tokens={role: hashlib.sha256(token.encode()).hexdigest() for role, token in TOKENS.items()},
    cookie_key="ab" * 32,
    portals=(),
    hosts=("127.0.0.1", "localhost", "node7"),
    console=True,
    clipboard=True,
    login="ann",
    host="node7",
    folder="/tmp/7lbd-1000/blue-fox",
    native=None,
)
STATE: dict[str, Any] = {
    "id": SESSION,
    "user": "ann",
    "host": "node7",
    "image": "demo",
    "accel": "kvm",
    "network": "tap",
    "phase": "ready",
    "phases": {"booting": 0.5, "guest-up": 3.0, "ready": 4.0},
    "milestones": {"rdp": 4.0},
    "warnings": [],
    "ways_out": [],
    "paused": "",
    "reason": "",
    "hint": "look into /tmp/7lbd-1000/blue-fox/logs",
    "started": 1.0,
    "ends_at": 0.0,
    "certificate": "",
    "folder": "/tmp/7lbd-1000/blue-fox",
    "pid": 7,
}
HASHED = "login-ABCDEF23.js"
BROTLI = b"as brotli would have it"
PAGES_VERSION = "0123456789abcdef"
PAGES = ("login", "status", "desktop", "console", "native")
X224_REQUEST = bytes.fromhex("03000013 0e e0 0000 0000 00 01 00 0800 0b000000")
X224_CONFIRM = bytes.fromhex("03000013 0e d0 0000 1234 00 02 00 0800 02000000")
X224_REFUSAL = bytes.fromhex("03000013 0e d0 0000 1234 00 03 00 0800 05000000")
BANNER = b"RFB 003.008\n"


@dataclass
class World:
    """What a test sees. `behave` says what the RDP server does, see `_Rdp`."""

    gate: Gate
    port: int
    unix: Path
    folder: Path
    client: aiohttp.ClientSession
    rdp: Rdp
    vnc: Vnc
    server: web.Server
    """What has the connections that the gateway knows of."""
    asked: list[Asked] = field(default_factory=list)
    bundles: list[bytes | None] = field(default_factory=list)
    """What the supervisor has for clients of native RDP; None is what the test gives in its own time."""

    def url(self, path: str) -> str:
        """The address of a path."""
        return f"http://127.0.0.1:{self.port}/{path}"

    @property
    def origin(self) -> str:
        """The page's own origin."""
        return f"http://127.0.0.1:{self.port}"

    def cookie(self, role: str) -> str:
        """A good cookie for the role, as a header's value."""
        assert self.gate.front
        return f"{authentication.cookie_name(SESSION)}={authentication.make_cookie(role, self.gate.front.cookie_key)}"

    def headers(self, role: str, **more: str) -> dict[str, str]:
        """What a browser with the role's cookie sends from our own page."""
        return {"Cookie": self.cookie(role), "Origin": self.origin, **more}

    async def status_of(self, method: str, path: str, headers: dict[str, str] | None = None, **more: Any) -> int:
        """The status of one answer."""
        async with self.client.request(
            method, self.url(path), headers=headers or {}, allow_redirects=False, **more
        ) as answer:
            return answer.status

    async def wire(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A bare connection."""
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def raw(self, request: bytes) -> bytes:
        """What comes back for these bytes, until the gateway hangs up."""
        reader, writer = await self.wire()
        writer.write(request)
        try:
            return await reader.read()
        finally:
            writer.close()

    def desktop(self, tab: str = "t1", **more: Any) -> Any:
        """A WebSocket to the desktop, as from `ClientSession.ws_connect`."""
        return self.client.ws_connect(self.url(f"ws/rdp?tab={tab}"), headers=self.headers("desktop"), **more)

    def console(self, **more: Any) -> Any:
        """A WebSocket to the console, as from `ClientSession.ws_connect`."""
        return self.client.ws_connect(
            self.url("ws/console"), headers=self.headers("console"), protocols=("binary",), **more
        )

    def renew(self) -> None:
        """New locks, as `connect --renew` makes them."""
        assert self.gate.front
        self.gate.on_front(replace(self.gate.front, cookie_key="cd" * 32))

    def phase(self, phase: str, **more: Any) -> None:
        """The supervisor tells a new state."""
        self.gate.on_state({**self.gate.state, "phase": phase, **more})


class Rdp:
    """An RDP server as far as TLS; then it is an echo. `behave` is one of the methods' names."""

    def __init__(self) -> None:
        self.behave = "tls"
        self.requests: list[bytes] = []
        self.open = 0
        self._server: asyncio.Server | None = None

    async def start(self) -> int:
        """Listen; the port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def stop(self) -> None:
        """No more connections."""
        assert self._server
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            header = await reader.readexactly(4)
            self.requests.append(header + await reader.readexactly(int.from_bytes(header[2:4]) - 4))
            await getattr(self, f"_{self.behave}")(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open -= 1
            writer.close()

    async def _tls(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(X224_CONFIRM)
        await writer.start_tls(server_tls())
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()

    async def _goodbye(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(X224_CONFIRM)
        await writer.start_tls(server_tls())
        writer.write(b"bye")

    async def _hang_up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(X224_CONFIRM)
        wire = writer.get_extra_info("socket")
        # A client that waits ends its part of the handshake with its first word, so ours does not end by itself.
        asyncio.get_running_loop().call_later(0.3, wire.shutdown, socket.SHUT_WR)
        await writer.start_tls(server_tls())

    async def _flood(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(X224_CONFIRM)
        await writer.start_tls(server_tls())
        for _ in range(256):
            writer.write(bytes(65536))
            await writer.drain()
        await reader.read(1)

    async def _refuse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(X224_REFUSAL)
        await reader.read(1)

    async def _old(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(bytes.fromhex("0300000b 06 d0 0000 1234 00"))
        await reader.read(1)

    async def _hang(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)

    async def _hang_in_tls(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(X224_CONFIRM)
        await reader.read(100_000)
        await reader.read(1)

    async def _no_tls_after_all(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(X224_CONFIRM)
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async def _reset(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async def _garbage(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        await reader.read(1)


class Vnc:
    """QEMU's socket: a banner, then an echo. `flood` makes it talk without end."""

    def __init__(self) -> None:
        self.flood = False
        self.sent = 0
        self.open = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.open += 1
        try:
            writer.write(BANNER)
            while self.flood:
                writer.write(bytes(65536))
                await writer.drain()
                self.sent += 65536
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            self.open -= 1
            writer.close()


@cache
def _certificate() -> tuple[bytes, bytes]:
    """A self-signed certificate as DER, and with its key as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "guest")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem = serialization.Encoding.PEM
    return certificate.public_bytes(serialization.Encoding.DER), secret + certificate.public_bytes(pem)


def certificate() -> bytes:
    """The RDP server's certificate, DER."""
    return _certificate()[0]


@cache
def server_tls() -> ssl.SSLContext:
    """The RDP server's side of TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as file:
        file.write(_certificate()[1])
        file.flush()
        context.load_cert_chain(file.name)
    return context


def request_message(x224: bytes = X224_REQUEST, version: int = rdcleanpath.VERSION, **fields: str) -> bytes:
    """An RDCleanPath request as the browser's client makes it."""
    message = rdcleanpath._Message()
    message["version"] = version
    for name, value in ({"destination": "192.0.2.7:3389", "proxy_auth": "none"} | fields).items():
        message[name] = value
    if x224:
        message["x224"] = x224
    return bytes(encoder.encode(message))


def make_pages(folder: Path) -> None:
    """Pages of one line each, and some assets."""
    for name in PAGES:
        (folder / f"{name}.html").write_text(f"<title>{name}</title><p id=message><!--message--></p>")
    assets = folder / "assets"
    (assets / "vendor").mkdir(parents=True)
    for name in ("login.js", "style.css", "icon.svg", "slash.js", "desktop.js", HASHED, "vendor/client.wasm"):
        (assets / name).write_text(f"{name}\n" * 100)
    for name in ("assets/style.css", "native.html"):
        for coding, content in (("br", BROTLI), ("gzip", gzip.compress((folder / name).read_bytes()))):
            (folder / coding / "assets").mkdir(parents=True, exist_ok=True)
            (folder / coding / name).write_bytes(content)
    (folder / "secret.txt").write_text("not for the web")
    (folder / "version").write_text(f"{PAGES_VERSION}\n")


@asynccontextmanager
async def opened(
    *,
    front: Front | None = FRONT,
    tls: bool = False,
    vnc_backlog: int = 100,
    state: dict[str, Any] | None = None,
    peers: Peers | None = None,
) -> AsyncIterator[World]:
    """A world; without a front it is as in the first moment of a gateway."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_pages(folder)
        rdp, vnc = Rdp(), Vnc()
        screen = socket.socket(socket.AF_UNIX)
        screen.bind(str(folder / "vnc.sock"))
        screen.listen(vnc_backlog)
        qemu = await asyncio.start_unix_server(vnc.serve, sock=screen, backlog=vnc_backlog)
        asked: list[Asked] = []
        bundles: list[bytes | None] = []

        def ask(message: Asked) -> None:
            asked.append(message)
            if message == BundleWanted():
                packed = bundles.pop() if bundles else b""
                if packed is not None:
                    asyncio.get_running_loop().call_later(0.01, gate.bundle.give, packed)

        gate = Gate(ask, ("127.0.0.1", await rdp.start()), str(folder / "vnc.sock"))
        if front:
            gate.on_front(front)
        gate.on_state(state or dict(STATE))
        listening = socket.create_server(("127.0.0.1", 0), backlog=4096)
        plain = socket.socket(socket.AF_UNIX)
        plain.bind(str(folder / "web.sock"))
        plain.listen(4096)
        listeners = [Listener(listening, server_tls() if tls else None, peers or Peers(None)), Listener(plain)]
        server = application(gate, folder)
        serving = asyncio.create_task(serve(server, gate, listeners))
        connector = aiohttp.TCPConnector(force_close=True)
        async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as client:
            try:
                port = listening.getsockname()[1]
                yield World(gate, port, folder / "web.sock", folder, client, rdp, vnc, server, asked, bundles)
            finally:
                serving.cancel()
                rdp.stop()
                qemu.close()
                with suppress(asyncio.CancelledError):
                    await serving
                # What was closed last goes with the loop's next rounds.
                await asyncio.sleep(0.02)


def lived(seconds: float = 30.0, **options: Any) -> Callable[[Callable[..., Awaitable[None]]], Callable[..., None]]:
    """Make a test of a coroutine whose first argument is a world opened with these options."""

    def wrap(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
        async def live(*arguments: Any, **named: Any) -> None:
            async with asyncio.timeout(seconds), opened(**options) as world:
                await test(world, *arguments, **named)

        @functools.wraps(test)
        def sync(*arguments: Any, **named: Any) -> None:
            asyncio.run(live(*arguments, **named))

        signature = inspect.signature(test)
        given = list(signature.parameters.values())[1:]
        sync.__signature__ = signature.replace(parameters=given)  # type: ignore[attr-defined]  # pytest reads it
        return sync

    return wrap


async def until(true: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait for something to become true."""
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.01)


async def relayed(folder: Path, target: str, traffic: Traffic) -> tuple[asyncio.Task[None], Path]:
    """A raw relay to `target` and its socket."""
    path = folder / "relay.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(100)
    return asyncio.create_task(native_relay.serve(listener, target, traffic)), path


NATIVE = replace(FRONT, native=NativeTls(4489, ("node7",)))
PORTALS = replace(FRONT, portals=("https://ondemand.example.edu",))
