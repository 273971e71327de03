"""How the service answers: records, refusals, and the headers that every answer has."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from ....wire import codec
from ..protocol import Problem

_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_ALWAYS = {
    "Content-Security-Policy": _CSP,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # with no-referrer a form of our own would post with Origin: null
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Strict-Transport-Security": "max-age=31536000",  # a year (RFC 6797, 6.1.1)
    "Server": "7lbd",
}


class Declined(Exception):
    """A request that is not served."""

    def __init__(self, status: int, problem: Problem, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(problem.what)
        self.status, self.problem, self.headers = status, problem, dict(headers or {})


def record(message: object, status: int = 200) -> web.Response:
    """A record of the protocol's."""
    return web.Response(status=status, body=codec.pack(message), content_type="application/json")


def refusal(declined: Declined) -> web.Response:
    response = record(declined.problem, declined.status)
    response.headers.update(declined.headers)
    return response


def dress(response: web.StreamResponse) -> None:
    """Give the answer the headers that all have."""
    response.headers.update(_ALWAYS)
    response.headers.setdefault("Cache-Control", "no-store")
