"""The HTTP application: the table of routes, and what every request goes through.

Each request, whatever it asks for, takes the same way: prefix of a portal off, Host, front, route, lock, origin,
handler. What is not in the table does not exist, and a stranger is not told so.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from ...wire.gateway import Front, SuspendPressed
from . import api, authentication, responses, vnc_console
from .authentication import CONSOLE, DESKTOP, STATUS, Visitor
from .gate import Gate
from .limits import Guarded
from .pages import SLASH, Pages, is_free
from .responses import Refused

__all__ = ["WEB", "Gate", "application"]

log = logging.getLogger(__name__)

WEB = Path("/usr/share/7lbd/web")

_ENTERED = "entered"
_SUSPEND = "suspend"
"""What a form that logs in may ask for instead of a page: a portal's card has a button for it."""
"""The query behind which a browser comes back from the log-in: then it should have the cookie."""
_COOKIE_LOST = (
    "The key was right, but your browser came back without the cookie that it was given. "
    "It refuses cookies for this address, or the portal in between takes them away."
)

_NO_KEY = "This key does not open this session. Copy it again, whole, from where the desktop was started."
_REPLACED_KEY = (
    "This key was replaced by a newer one, and opens nothing any more. The new one is shown by: 7lbd connect --url"
)

_PREFIX = re.compile(r"/r?node/[^/]+/\d+(?=/|$)")
_PLAIN = re.compile(r"[A-Za-z0-9._/-]*")
_TO_SLASH = re.compile(rf"\d{{1,5}}/{re.escape(SLASH)}")

Handler = Callable[[web.BaseRequest, Gate, Visitor], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Route:
    """What is there, and the role that it needs."""

    handler: Handler
    needs: str
    page: bool = False
    socket: bool = False
    bearer: bool = False


class Routes:
    """The routes over one gate and one folder of pages."""

    def __init__(self, gate: Gate, folder: Path) -> None:
        self._gate = gate
        self._pages = Pages(folder)
        gate.pages_version = self._pages.version
        self._routes = {
            ("GET", ""): Route(self._page("status"), STATUS, page=True),
            ("GET", "desktop"): Route(self._page("desktop"), DESKTOP, page=True),
            ("GET", "console"): Route(self._page("console"), CONSOLE, page=True),
            ("GET", "native"): Route(self._page("native"), DESKTOP, page=True),
            ("POST", "logout"): Route(_logout, STATUS),
            ("GET", "api/status"): Route(api.status, STATUS, bearer=True),
            ("POST", "api/desktop"): Route(api.secrets, DESKTOP, bearer=True),
            ("POST", "api/stop"): Route(api.stop, DESKTOP, bearer=True),
            ("POST", "api/suspend"): Route(api.suspend, DESKTOP, bearer=True),
            ("GET", "api/desktop.rdp"): Route(api.rdp, DESKTOP, bearer=True),
            ("POST", "api/client"): Route(api.client, DESKTOP, bearer=True),
            ("GET", "metrics"): Route(api.metrics, STATUS, bearer=True),
            ("GET", "ws/rdp"): Route(_desktop, DESKTOP, socket=True),
            ("GET", "ws/console"): Route(vnc_console.serve, CONSOLE, socket=True),
        }
        self._paths = {path for _, path in self._routes}

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Serve one request to its end, so that what comes next on its connection is measured anew."""
        protocol = request.protocol
        assert isinstance(protocol, Guarded)
        protocol.begin()
        try:
            response = await self._or_refusal(request)
            if not response.prepared:
                if protocol.outstays:
                    response.force_close()
                responses.dress(response, _called(request, self._gate.front))
                await response.prepare(request)
            await response.write_eof()
            return response
        finally:
            protocol.finish()

    async def _or_refusal(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await self._served(request)
        except Refused as refused:
            count = self._gate.counters.refused
            count[refused.status] = count.get(refused.status, 0) + 1
            return responses.refusal(refused)
        except web.HTTPException as error:
            # aiohttp's own: a handshake that is none.
            return responses.refusal(Refused(error.status, error.reason))

    async def _served(self, request: web.BaseRequest) -> web.StreamResponse:
        path, prefix = _without_prefix(request.rel_url.raw_path)
        if path is None:
            return responses.go(f"{prefix}/")
        if (request.method, path) == ("GET", "healthz"):
            self._check_host(request, self._gate.front)
            return web.Response(text="ok")
        front = await self._gate.known()
        if not front:
            raise Refused(503, "the session is not there yet", "try again in a moment", {"Retry-After": "1"})
        self._check_host(request, front)
        method = "GET" if request.method == "HEAD" else request.method
        if method == "GET" and (is_free(path) or _TO_SLASH.fullmatch(path)):
            return self._pages.asset(SLASH if path.endswith(SLASH) else path, request)
        if (method, path) == ("POST", "login"):
            return await self._login(request, front)
        return await self._behind_the_lock(request, method, path, front)

    async def _behind_the_lock(
        self, request: web.BaseRequest, method: str, path: str, front: Front
    ) -> web.StreamResponse:
        route = self._routes.get((method, path))
        visitor, by_bearer = await self._visitor(request, route, front)
        entered = bool(route and route.page and request.query_string == _ENTERED)
        if not visitor:
            return self._closed(route, path, _COOKIE_LOST if entered else "", _port_without_slash(request))
        if entered:
            return responses.go(path or "./")
        _guarded(request).trust()
        if method == "GET" and path.startswith("assets/"):
            return self._pages.asset(path, request)
        if not route:
            raise Refused(405 if path in self._paths else 404, "there is no such page")
        if not visitor.may(route.needs):
            raise Refused(403, f"this key is for {visitor.role} only", f"log in with the key for {route.needs}")
        if (route.socket or method == "POST") and not by_bearer:
            _check_origin(request, front)
        if "console" in path and not (front.console and self._gate.vnc):
            raise Refused(404, "this session has no console")
        return await route.handler(request, self._gate, visitor)

    def _closed(self, route: Route | None, path: str, message: str, port: str) -> web.StreamResponse:
        """The answer to a stranger."""
        if route and route.page:
            return self._pages.login(message=message, status=401 if path else 200, port=port)
        if route and route.handler is _logout:
            return responses.go("./")  # a form is answered by a page, and this one by the login
        raise Refused(401, "you are not logged in", "log in with the session's key: 7lbd connect --url shows it")

    async def _visitor(
        self, request: web.BaseRequest, route: Route | None, front: Front
    ) -> tuple[Visitor | None, bool]:
        """Who asks, and whether by the token itself."""
        token = authentication.bearer(request.headers.get("Authorization", ""))
        if token and route and route.bearer:
            role = authentication.role_of_token(token, front.tokens)
            if not role:
                await self._refuse_guess()
            return (Visitor(role) if role else None), True
        visitors = authentication.visitors(request.headers.getall("Cookie", ()), front.session, front.cookie_key)
        return next((visitor for visitor in visitors if not self._gate.left(visitor)), None), False

    async def _login(self, request: web.BaseRequest, front: Front) -> web.StreamResponse:
        if request.headers.get("Origin"):
            _check_origin(request, front)
        form = await api.form(request)
        token = authentication.pasted_token(form.get("token", ""))
        role = authentication.role_of_token(token, front.tokens)
        if not role:
            return await self._no_entry(token)
        _guarded(request).trust()
        to, visitor = form.get("to", ""), Visitor(role)
        if to == _SUSPEND and visitor.may(self._routes["POST", "api/suspend"].needs):
            self._gate.ask(SuspendPressed())  # the page that it is led to shows how that goes
        response = responses.go(f"{self._wanted(to, visitor) or './'}?{_ENTERED}")
        secure = request.secure or authentication.last(request.headers.get("X-Forwarded-Proto", "")).lower() == "https"
        response.set_cookie(
            authentication.cookie_name(front.session),
            authentication.make_cookie(role, front.cookie_key),
            path="",
            httponly=True,
            samesite="Strict",
            secure=secure,
        )
        return response

    async def _no_entry(self, token: str) -> web.StreamResponse:
        """The login page again, with what is wrong with the key."""
        try:
            await self._refuse_guess()
        except Refused as refused:
            return self._pages.login(message=f"{refused.error}: {refused.hint}.", status=refused.status)
        if authentication.is_token_of(token, self._gate.replaced):
            return self._pages.login(message=_REPLACED_KEY, status=410)
        return self._pages.login(message=_NO_KEY, status=403)

    def _wanted(self, to: str, visitor: Visitor) -> str:
        """The page that a form asks to be led to, if there is one of that name for this visitor; else none."""
        route = self._routes.get(("GET", to))
        return to if route and route.page and visitor.may(route.needs) else ""

    async def _refuse_guess(self) -> None:
        """Make a wrong token wait. Raises Refused when there were too many."""
        self._gate.counters.failed_logins += 1
        seconds = self._gate.guesses.wrong()
        if seconds < 0:
            raise Refused(429, "too many wrong keys", "wait a minute, then try again", {"Retry-After": "60"})
        log.info("a wrong key")
        await asyncio.sleep(seconds)

    def _check_host(self, request: web.BaseRequest, front: Front | None) -> None:
        forwarded = request.headers.get("X-Forwarded-Host", "")
        if front and not authentication.host_allowed(request.headers.get("Host", ""), forwarded, front):
            raise Refused(421, "this session is not reached by that name", "use the address that 7lbd connect shows")

    def _page(self, name: str) -> Handler:
        async def serve(request: web.BaseRequest, gate: Gate, _: Visitor) -> web.StreamResponse:
            gate.counters.pages += 1
            return self._pages.page(name, request, port=_port_without_slash(request))

        return serve


def _without_prefix(path: str) -> tuple[str | None, str]:
    """What is asked for, below a portal's prefix; None and the prefix's last part when its slash is missing."""
    prefix = _PREFIX.match(path)
    rest = path[prefix.end() :] if prefix else path
    if prefix and not rest:
        return None, prefix.group().rpartition("/")[2]
    if not rest.startswith("/") or not _PLAIN.fullmatch(rest):
        return "?", ""  # nothing of ours is written like that
    return rest[1:], ""


def _port_without_slash(request: web.BaseRequest) -> str:
    """The last part of the browser's address, if that may lack its slash: nobody but the browser can know.

    A proxy that takes the prefix away (/rnode/HOST/PORT) asks for `/` with and without it; by Host it says the port.
    """
    forwarded = bool(request.headers.get("X-Forwarded-Host")) and request.rel_url.raw_path == "/"
    port = request.headers.get("Host", "").rpartition(":")[2]
    return port if forwarded and re.fullmatch(r"[0-9]{1,5}", port) else ""


def _guarded(request: web.BaseRequest) -> Guarded:
    assert isinstance(request.protocol, Guarded)
    return request.protocol


def _called(request: web.BaseRequest, front: Front | None) -> str:
    """How the browser calls us: by a portal's name where there may be one."""
    forwarded = authentication.last(request.headers.get("X-Forwarded-Host", "")) if front and front.portals else ""
    return forwarded or request.headers.get("Host", "")


def _check_origin(request: web.BaseRequest, front: Front) -> None:
    origin, host = request.headers.get("Origin", ""), request.headers.get("Host", "")
    if not authentication.origin_allowed(origin, host, front):
        raise Refused(403, "the request comes from another site", "open the session's own page and try there")


async def _desktop(request: web.BaseRequest, gate: Gate, visitor: Visitor) -> web.StreamResponse:
    from . import desktop  # with its ASN.1, three megabytes that an idle gateway does not need

    return await desktop.serve(request, gate, visitor)


async def _logout(request: web.BaseRequest, gate: Gate, visitor: Visitor) -> web.StreamResponse:
    gate.leave(visitor)
    response = responses.go("./")
    if gate.front:
        response.set_cookie(
            authentication.cookie_name(gate.front.session),
            "",
            max_age=0,
            path="",
            httponly=True,
            samesite="Strict",
        )
    return response


def application(gate: Gate, folder: Path = WEB) -> web.Server:
    """The application for what `gate` knows, with the pages in `folder`. To be served by `server.serve`.

    aiohttp's low-level server: its `web.Application` answers some requests itself (`Expect`), past all that is above.
    """
    return web.Server(Routes(gate, folder).answer)
