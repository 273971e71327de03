"""The HTTP application: its routes, and what every request goes through."""

from __future__ import annotations

from pathlib import Path

from aiohttp import web

from .gate import Gate

__all__ = ["WEB", "Gate", "application"]

WEB = Path("/usr/share/7lbd/web")


def application(gate: Gate, folder: Path = WEB) -> web.Application:
    """The application for what `gate` knows, with the pages in `folder`."""

    async def healthy(_: web.Request) -> web.Response:
        return web.Response(text="ok")

    app = web.Application()
    app["gate"] = gate
    app.router.add_get("/healthz", healthy)
    return app
