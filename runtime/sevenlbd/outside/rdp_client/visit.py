"""A visit to the desktop, as a browser would make it: in by the session's key, log on, look, move something, leave."""

from __future__ import annotations

import asyncio
import math
import ssl
import time
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import aiohttp

from .browser import Canvas
from .codecs import Meter
from .ironrdp import REFUSED, IronClient, Login, NotLetIn, RdpSession
from .values import Thrown

VENDOR = Path("/usr/share/7lbd/web/assets/vendor/ironrdp")
_CONNECT_SECONDS = 45.0  # what the page waits, too (lib/rdp.js)
_QUIET_SECONDS = 3.0  # a guess: a desktop that is being built draws more often
_LOOK_SECONDS = 0.25  # how finely a desktop's seconds are told
_STEPS = 30  # positions of the pointer a second: what people's mice make at least
_CIRCLE = 0.15  # of the screen's height: large enough to see, small enough to stay on the desktop
_LEAVE_SECONDS = 5.0  # for the goodbye; then the socket goes


@dataclass(frozen=True)
class DesktopVisit:
    """Where to go and what to do there. `password` is another than the session's own, when it is not empty."""

    url: str
    token: str
    socket: str = ""
    """The Unix socket on which the page is served, too; then `url` says only what the page is called."""
    password: str = ""
    seconds: float = 120.0
    """How long a desktop may take to be usable."""
    move_seconds: float = 5.0
    """How long something is moved, to see how many frames come."""
    size: tuple[int, int] = (1280, 800)


@dataclass
class VisitReport:
    """What came of it. Times are in seconds from the first byte to the guest; None is what did not happen."""

    outcome: str = "failed"
    """`usable`, `not usable` (a picture that stays dark or never rests), `refused` or `failed`."""
    kind: str = ""
    words: str = ""
    network_level: bool = False
    """Whether the server asks who comes before it shows anything; else a picture may be of a log-in screen."""
    connected: float | None = None
    picture: float | None = None
    usable: float | None = None
    size: tuple[int, int] = (0, 0)
    announced: list[str] = field(default_factory=list)
    codecs: dict[str, dict[str, int]] = field(default_factory=dict)
    """Updates and bytes of each that came."""
    frames_per_second: float | None = None
    pipeline: bool = False
    """Whether the server has the graphics pipeline for clients that want it."""
    marked_frames: bool = False
    """Whether the server marks its frames; else updates with pictures in them are counted."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class _Gateway:
    """The page's server, with the key's cookie: what the client's WebSocket goes to."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http, self._url = http, url
        parts = urlsplit(url)
        self._origin = {"Origin": f"{parts.scheme}://{parts.netloc}"}
        self.meter = Meter()
        scheme = "wss" if parts.scheme == "https" else "ws"
        self.proxy = urlunsplit((scheme, parts.netloc, f"{parts.path}ws/rdp", "tab=accept", ""))

    async def enter(self, token: str) -> None:
        """Raises NotLetIn."""
        async with self._http.post(f"{self._url}login", data={"token": token}, headers=self._origin) as answer:
            if answer.status >= 400:
                raise NotLetIn("general", f"the session's page does not let its key in: {answer.status}")

    async def desktop(self) -> dict[str, Any]:
        async with self._http.post(f"{self._url}api/desktop", headers=self._origin) as answer:
            return dict(await answer.json())

    async def screen(self) -> str:
        """The desktop's one size, when its server has but one."""
        async with self._http.get(f"{self._url}api/status") as answer:
            return str((await answer.json()).get("screen") or "")

    def dial(self, url: str) -> AbstractAsyncContextManager[aiohttp.ClientWebSocketResponse]:
        return self._http.ws_connect(url, headers=self._origin, max_msg_size=0)

    def received(self, data: bytes) -> None:
        self.meter.received(data)

    def sent(self, data: bytes) -> None:
        self.meter.sent(data)


async def visit(request: DesktopVisit, folder: Path = VENDOR) -> VisitReport:
    """One visit, whatever comes of it."""
    # The gateway is the session's own, at an address that the session told; its certificate is of its own making.
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connector = aiohttp.UnixConnector(request.socket) if request.socket else aiohttp.TCPConnector(ssl=context)
    jar = aiohttp.CookieJar(unsafe=True)  # for a host that is an address, too
    report = VisitReport()
    async with aiohttp.ClientSession(connector=connector, cookie_jar=jar) as http:
        gateway = _Gateway(http, request.url)
        try:
            await gateway.enter(request.token)
            await _log_on(gateway, request, report, folder)
        except NotLetIn as error:
            report.outcome = "refused" if error.kind in REFUSED else "failed"
            report.kind, report.words = error.kind, str(error)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            report.words = str(error) or "it took too long"
        _count(gateway.meter, report)
    return report


async def _log_on(gateway: _Gateway, request: DesktopVisit, report: VisitReport, folder: Path) -> None:
    login = await gateway.desktop()
    width, _, height = (await gateway.screen()).partition("x")
    report.size = (int(width), int(height)) if width and height else request.size
    canvas = Canvas(*report.size)
    client = IronClient(folder, gateway)
    password = request.password or login["password"]
    start = time.monotonic()
    async with asyncio.timeout(_CONNECT_SECONDS):
        session = await client.connect(Login(login["account"], password, login["destination"], gateway.proxy), canvas)
    report.connected = time.monotonic() - start
    report.size = canvas.width, canvas.height = session.size()
    running = asyncio.get_running_loop().create_task(session.run())
    try:
        await _until_usable(canvas, running, report, start, request.seconds)
        if report.usable is not None and request.move_seconds:
            await _move(session, canvas, gateway.meter, report, request.move_seconds)
    finally:
        with suppress(Thrown):
            session.close()
        await asyncio.wait({running}, timeout=_LEAVE_SECONDS)
        running.cancel()


async def _until_usable(
    canvas: Canvas, running: asyncio.Task[str], report: VisitReport, start: float, seconds: float
) -> None:
    """Notes when there was a picture, and when it was one to work with: lit, and at rest."""
    report.outcome = "not usable"
    while time.monotonic() < start + seconds:
        await asyncio.sleep(_LOOK_SECONDS)
        lit = canvas.is_lit
        if lit and report.picture is None:
            report.picture = time.monotonic() - start
        if lit and canvas.context.is_quiet(_QUIET_SECONDS):
            report.outcome, report.usable = "usable", max(canvas.context.last_large() - start, report.picture or 0)
            return
        if running.done():
            report.outcome, report.words = "failed", running.result() or "the connection broke"
            return
    report.words = "the picture never rests" if canvas.is_lit else "the picture stays dark"


async def _move(session: RdpSession, canvas: Canvas, meter: Meter, report: VisitReport, seconds: float) -> None:
    """Drags on the desktop in a circle, which marks a part of it: there is always something to draw."""
    before, start = meter.pictures.copy(), time.monotonic()
    middle_x, middle_y, radius = canvas.width // 2, canvas.height // 2, canvas.height * _CIRCLE
    session.send(session.move(middle_x, middle_y), session.button(pressed=True))
    for step in range(int(seconds * _STEPS)):
        angle = 2 * math.pi * step / _STEPS
        x, y = middle_x + radius * (1 + math.cos(angle)), middle_y + radius * (1 + math.sin(angle))
        with suppress(Thrown):
            session.send(session.move(int(x), int(y)))
        await asyncio.sleep(1 / _STEPS)
    taken = time.monotonic() - start
    came = meter.pictures.since(before)
    session.send(session.button(pressed=False))
    report.marked_frames = came.frames > 0
    report.frames_per_second = (came.frames or came.batches) / taken


def _count(meter: Meter, report: VisitReport) -> None:
    report.announced = sorted(meter.announced.values())
    report.pipeline, report.network_level = meter.pipeline, meter.by_nla
    pictures = meter.pictures
    report.codecs = {
        name: {"updates": count, "bytes": pictures.octets[name]} for name, count in pictures.updates.most_common()
    }
