"""The pages and what belongs to them. Only what was there at the start is served: paths are looked up, never made."""

from __future__ import annotations

import hashlib
import html
import re
from pathlib import Path

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from .codings import CODINGS, IDENTITY, preferred
from .responses import Refused

SLASH = "assets/slash.js"
_FREE = frozenset({"assets/login.js", "assets/style.css", "assets/icon.svg", SLASH})
"""What the login page needs, without the hashes of their names."""
_HASH = re.compile(r"-[A-Z2-7]{8}(?=\.[a-z]+$)")
"""What the build puts into the name of a file that has another name when it is another (scripts/sifbuild/bundle.py)."""
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


_FOR_EVER = "private, max-age=31536000, immutable"  # RFC 8246; a year is what all take for ever
_ASK_AGAIN = "no-cache"  # kept, and asked for each time whether it is still the one
# Taken from the browser's store without a question, a round trip less: by who still has the cookie that he got it with
# ("Vary"), and so by this session's visitors only. A day is a guess. A page that is kept wrongly finds that out itself
# (lib/session.js), and a reload asks.
_KEPT = "private, max-age=86400"
_KEPT_PAGES = frozenset({"desktop"})
_TYPES = {
    ".js": "text/javascript",
    ".css": "text/css",
    ".mjs": "text/javascript",
    ".wasm": "application/wasm",
    ".svg": "image/svg+xml",
}


class Asset(web.FileResponse):
    """A file that is sent once, also when aiohttp asks again after us, as it does with every answer."""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """aiohttp's method."""
        if self.prepared:
            return None
        try:
            return await super().prepare(request)
        except RuntimeError:  # asyncio's word for a browser that went while a file was sent
            if request.transport and not request.transport.is_closing():
                raise
            raise ConnectionResetError("the browser has gone") from None


def is_free(path: str) -> bool:
    """Whether somebody who is not logged in gets this."""
    return _HASH.sub("", path) in _FREE


class Pages:
    """The files below one folder, and their copies in other codings in folders named by these."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.version = self._version()
        """Which pages these are; they know it, too."""
        assets = folder / "assets"
        self._assets = {str(path.relative_to(folder)): path for path in assets.rglob("*") if path.is_file()}
        self._packed = {
            (coding, path.relative_to(folder / coding).as_posix()): path
            for coding in CODINGS
            for path in (folder / coding).rglob("*")
            if path.is_file()
        }

    def page(self, name: str, request: web.BaseRequest, *, port: str = "") -> web.Response:
        """The page `name`; nothing when the browser has this very one. Raises Refused.

        With a `port` its address may end in that, without a slash behind it: then `slash.js` mends it.
        """
        text = self._text(name)
        if port:
            text = text.replace(_HEAD, f'{_HEAD}\n    <script src="{port}/{SLASH}"></script>', 1)
        file = f"{name}.html"
        coding = IDENTITY if port else self._coding(file, request)
        tag = hashlib.sha256(text.encode()).hexdigest()[:16]
        keep = _KEPT if name in _KEPT_PAGES and not port and not request.query_string else _ASK_AGAIN
        headers = {"Cache-Control": keep, "Vary": "Accept-Encoding, Cookie"}
        if any(known.value in (tag, "*") for known in request.if_none_match or ()):
            response = web.Response(status=304, headers=headers)
        elif coding == IDENTITY:
            response = web.Response(text=text, content_type="text/html", headers=headers)
        else:
            headers["Content-Encoding"] = coding
            body = self._packed[coding, file].read_bytes()
            response = web.Response(body=body, content_type="text/html", charset="utf-8", headers=headers)
        # Weak: the same page in another coding has the same.
        response.headers["ETag"] = f'W/"{tag}"'
        return response

    def login(self, *, message: str = "", status: int = 200, port: str = "") -> web.Response:
        """The login page, with a sentence for the user: the answer to this one request, which nobody keeps."""
        text = self._text("login").replace(_PLACE, html.escape(message))
        if port:
            text = text.replace(_HEAD, f'{_HEAD}\n    <script src="{port}/{SLASH}"></script>', 1)
        return web.Response(status=status, text=text, content_type="text/html")

    def asset(self, path: str, request: web.BaseRequest) -> web.StreamResponse:
        """The file at `assets/...`, in the coding that the browser wants. Raises Refused."""
        file = self._assets.get(path)
        if not file:
            raise Refused(404, "there is no such page")
        coding = self._coding(path, request)
        headers = {"Cache-Control": _FOR_EVER if _HASH.search(path) else _ASK_AGAIN, "Vary": "Accept-Encoding"}
        if coding != IDENTITY:
            headers["Content-Encoding"] = coding
        response = Asset(self._packed.get((coding, path), file), headers=headers)
        if file.suffix in _TYPES:
            response.content_type = _TYPES[file.suffix]
        return response

    def _version(self) -> str:
        try:
            return (self._folder / "version").read_text().strip()
        except OSError:
            return ""  # a folder of one's own, whose pages ask nothing

    def _text(self, name: str) -> str:
        try:
            return (self._folder / f"{name}.html").read_text()
        except OSError:
            raise Refused(404, f"this build has no page '{name}'", "the SIF was built without its web pages") from None

    def _coding(self, path: str, request: web.BaseRequest) -> str:
        there = frozenset(coding for coding in CODINGS if (coding, path) in self._packed)
        return preferred(request.headers.get("Accept-Encoding", ""), there)
