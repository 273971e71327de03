"""The pages and what belongs to them. Only what was there at the start is served: paths are looked up, never made."""

from __future__ import annotations

import html
from pathlib import Path

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from .responses import Refused

SLASH = "assets/slash.js"
FREE = frozenset({"assets/login.js", "assets/style.css", "assets/icon.svg", SLASH})
"""What the login page needs."""
_PLACE = "<!--message-->"
_HEAD = "</title>"
_TOO_LARGE = """\
<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8" />
    <title>Too large a request · 7lbd</title>
  </head>
  <body>
    <h1>Your browser sends more than this page takes</h1>
    <p>
      A line of its request is longer than {most} KiB: the cookies, as a rule. All that was ever set for this name goes
      along with each request, other pages' too. Delete this site's cookies in your browser, or take a private window,
      and log in again.
    </p>
  </body>
</html>
"""


def too_large(most: int) -> web.Response:
    """What a request whose headers are beyond `most` bytes is answered: it stands alone, as its path is not known."""
    return web.Response(status=431, text=_TOO_LARGE.format(most=most >> 10), content_type="text/html")


# The SIF's files never change; another SIF at the same address within this time is told apart by nothing.
_ASSETS_FOR = "private, max-age=600"
_TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm", ".svg": "image/svg+xml"}


class Asset(web.FileResponse):
    """A file that is sent once, also when aiohttp asks again after us, as it does with every answer."""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """aiohttp's method."""
        return None if self.prepared else await super().prepare(request)


class Pages:
    """The files below one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        assets = folder / "assets"
        self._assets = {str(path.relative_to(folder)): path for path in assets.rglob("*") if path.is_file()}

    def page(self, name: str, *, message: str = "", status: int = 200, port: str = "") -> web.Response:
        """The page `name`, with a sentence for the user at its place for one. Raises Refused.

        With a `port` its address may end in that, without a slash behind it: then `slash.js` mends it.
        """
        try:
            text = (self._folder / f"{name}.html").read_text()
        except OSError:
            raise Refused(404, f"this build has no page '{name}'", "the SIF was built without its web pages") from None
        text = text.replace(_PLACE, html.escape(message))
        if port:
            text = text.replace(_HEAD, f'{_HEAD}\n    <script src="{port}/{SLASH}"></script>', 1)
        return web.Response(status=status, text=text, content_type="text/html")

    def asset(self, path: str) -> web.StreamResponse:
        """The file at `assets/...`. Raises Refused."""
        file = self._assets.get(path)
        if not file:
            raise Refused(404, "there is no such page")
        response = Asset(file, headers={"Cache-Control": _ASSETS_FOR})
        if file.suffix in _TYPES:
            response.content_type = _TYPES[file.suffix]
        return response
