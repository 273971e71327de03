"""How we answer: JSON, text, refusals, and the headers that every answer has."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from aiohttp import web

# Of a Host field: letters that cannot end a source in the policy below. Whether it is a host is not asked here.
_WHERE = re.compile(r"[A-Za-z0-9.-]+(:\d+)?|\[[0-9A-Fa-f:.]+\](:\d+)?")
_CSP = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'{sockets}; font-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # with no-referrer a form of our own would post with Origin: null
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": (
        "clipboard-read=(self), clipboard-write=(self), fullscreen=(self), "
        "camera=(), geolocation=(), microphone=(), payment=(), usb=()"
    ),
    "Server": "7lbd",
}


class Refused(Exception):
    """A request that is not served: status, what is wrong, and what to do."""

    def __init__(self, status: int, error: str, hint: str = "", headers: Mapping[str, str] | None = None) -> None:
        super().__init__(error)
        self.status, self.error, self.hint = status, error, hint
        self.headers = dict(headers or {})


def as_json(value: Mapping[str, Any], status: int = 200) -> web.Response:
    return web.Response(status=status, text=json.dumps(value), content_type="application/json")


def refusal(refused: Refused) -> web.Response:
    """A refusal in JSON."""
    response = as_json({"error": refused.error, "hint": refused.hint}, refused.status)
    response.headers.update(refused.headers)
    return response


def go(where: str) -> web.Response:
    """A redirection to a relative place, to be fetched by GET."""
    return web.Response(status=303, headers={"Location": where})


def dress(response: web.StreamResponse, host: str = "") -> None:
    """Give the answer the headers that all have. `host` is how the browser calls us."""
    sockets = f" ws://{host} wss://{host}" if _WHERE.fullmatch(host) else ""
    response.headers.update(_ALWAYS)
    response.headers["Content-Security-Policy"] = _CSP.format(sockets=sockets)
    response.headers.setdefault("Cache-Control", "no-store")
