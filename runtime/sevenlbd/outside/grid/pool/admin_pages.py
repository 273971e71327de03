"""What the pool's administrator sees: the page, what it is filled with, and the metrics. Opened by one token.

The token is exchanged for a cookie that scripts cannot read and no other site can use. It lets its bearer look, and
nothing else: who revokes a machine or makes a code does that on the pool's own host.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from pathlib import Path
from urllib.parse import parse_qs

from aiohttp import web

from ..protocol import Problem
from . import pool_overview
from .machine_api import PoolParts
from .service_answers import Declined

WEB = Path("/usr/share/7lbd/web")
_COOKIE = "__Host-sevenlbd-pool"  # a name that only this very host can set (RFC 6265bis, 4.1.3.2)
_COOKIE_SECONDS = 12 * 3600  # a guess: a working day
_MOST_FORM = 4 << 10  # bytes
_PAGE = "pool.html"
_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


class AdminPages:
    """The page and its files: what was there at the start, looked up by name."""

    def __init__(self, parts: PoolParts, folder: Path = WEB) -> None:
        self._parts = parts
        self._key = hmac.new(parts.admin, b"cookie", hashlib.sha256).digest()
        page = folder / _PAGE
        self._page = page.read_bytes() if page.is_file() else b""
        files = [path for path in (folder / "assets").rglob("*") if path.suffix in _TYPES and path.is_file()]
        self._assets = {f"/{path.relative_to(folder).as_posix()}": path for path in files if "vendor" not in path.parts}

    async def answer(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        """Raises Declined."""
        match request.method, path:
            case "GET", "/":
                return web.Response(body=self._page, content_type="text/html", charset="utf-8")
            case "GET", "/healthz":
                return web.Response(text="ok")
            case "GET", "/overview.json":
                self._check(request)
                return web.json_response(await asyncio.to_thread(pool_overview.table, self._parts))
            case "GET", "/metrics":
                self._check(request)
                from . import pool_metrics  # with its library, for those alone who ask

                body, kind = await asyncio.to_thread(pool_metrics.text, self._parts)
                return web.Response(body=body, headers={"Content-Type": kind})
            case "POST", "/login":
                return await self._login(request)
            case "POST", "/logout":
                _check_origin(request)
                return _with_cookie(_go("/"), "", 0)
            case "GET", _ if path in self._assets:
                return self._asset(path)
        raise Declined(404, Problem("there is no such page"))

    def _asset(self, path: str) -> web.Response:
        file = self._assets[path]
        headers = {"Cache-Control": "no-cache"}
        return web.Response(body=file.read_bytes(), content_type=_TYPES[file.suffix], headers=headers)

    async def _login(self, request: web.BaseRequest) -> web.Response:
        _check_origin(request)
        body = await request.content.read(_MOST_FORM)
        token = parse_qs(body.decode(errors="replace")).get("token", [""])[0].strip()
        if not hmac.compare_digest(token.encode(), self._parts.admin):
            return _go("/#wrong")
        return _with_cookie(_go("/"), self._cookie(int(time.time()) + _COOKIE_SECONDS), _COOKIE_SECONDS)

    def _check(self, request: web.BaseRequest) -> None:
        """Raises Declined for whom it is none of his business."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        said = token.strip().encode(errors="replace")
        if scheme.lower() == "bearer" and hmac.compare_digest(said, self._parts.admin):
            return
        if any(map(self._is_good, _cookies(request))):
            return
        mend = "the token is in the file that `7lbd grid pool` names when it starts: admin-token"
        raise Declined(401, Problem("this is for the pool's administrator", mend=mend))

    def _cookie(self, expires: int) -> str:
        return f"{expires}.{hmac.new(self._key, str(expires).encode(), hashlib.sha256).hexdigest()}"

    def _is_good(self, cookie: str) -> bool:
        expires, _, _ = cookie.partition(".")
        good = expires.isascii() and expires.isdigit() and len(expires) < 12 and cookie.isascii()  # digits
        return good and hmac.compare_digest(cookie, self._cookie(int(expires))) and int(expires) > time.time()


def _cookies(request: web.BaseRequest) -> list[str]:
    pairs = [pair.partition("=") for header in request.headers.getall("Cookie", ()) for pair in header.split(";")]
    return [value.strip() for name, _, value in pairs if name.strip() == _COOKIE]


def _check_origin(request: web.BaseRequest) -> None:
    """Another site's form is not ours. Raises Declined."""
    origin, host = request.headers.get("Origin", ""), request.headers.get("Host", "")
    if origin.lower() != f"https://{host}".lower():
        raise Declined(403, Problem("the request comes from another site", mend="open the pool's own page"))


def _go(where: str) -> web.Response:
    return web.Response(status=303, headers={"Location": where})


def _with_cookie(response: web.Response, value: str, seconds: int) -> web.Response:
    response.set_cookie(_COOKIE, value, max_age=seconds, path="/", httponly=True, samesite="Strict", secure=True)
    return response
