"""A portal that stands between browser and session as Open OnDemand does: a real Apache with its rules."""

from __future__ import annotations

import html
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness import PATIENCE

HERE = Path(__file__).parent / "portal"
NAME = "ondemand.example.edu"

_CARD = """<!doctype html><title>My Interactive Sessions</title>
<form action="{action}" method="post" target="_blank"><input type="hidden" name="token" value="{token}">
<button>Connect to Windows</button></form>
"""


@dataclass(frozen=True)
class Portal:
    """Where it is, and what it has written."""

    folder: Path
    port: int

    @property
    def origin(self) -> str:
        """As browsers write it."""
        return f"https://{NAME}:{self.port}"

    def logs(self) -> str:
        """The access log and the error log."""
        return "".join((self.folder / name).read_text() for name in ("access.log", "error.log"))

    @contextmanager
    def logged_out(self, kind: str) -> Iterator[None]:
        """For so long its log-in is over; `kind` is the status by which a script's question is refused."""
        (self.folder / "htdocs" / "form.html").write_text("<!doctype html><title>Log in to the portal</title>")
        over = self.folder / f"over-{kind}"
        over.touch()
        try:
            yield
        finally:
            over.unlink()

    def card(self, action: str, token: str) -> str:
        """Put the session's card on the dashboard, a form that brings the token; returns the page's address."""
        (self.folder / "htdocs" / "card.html").write_text(
            _CARD.format(action=html.escape(action), token=html.escape(token))
        )
        return f"{self.origin}/card.html"


@contextmanager
def running(folder: Path, *, strips_cookies: bool = False) -> Iterator[Portal]:
    """An Apache of our own, with all that it writes in `folder`; if wanted, one that lets no cookie through."""
    (folder / "htdocs").mkdir(parents=True)
    certificate(folder, NAME)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    given = {"PORTAL": str(folder), "PORTAL_PORT": str(port), "PORTAL_CODE": str(HERE), "PATH": os.environ["PATH"]}
    call = ["/usr/sbin/apache2", "-f", str(HERE / "httpd.conf"), "-DFOREGROUND"]
    server = subprocess.Popen([*call, *(["-DSTRIPS_COOKIES"] if strips_cookies else [])], env=given)
    try:
        _wait(port, server)
        yield Portal(folder, port)
    finally:
        server.terminate()
        server.wait(90)


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A self-signed certificate for `name` and its key, in `folder`."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    words = ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-days", "2"]
    call = ["openssl", "req", "-x509", *curve, *words, "-keyout", str(key), "-out", str(cert)]
    subprocess.run(call, check=True, capture_output=True)
    return cert, key


def _wait(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE
    while server.poll() is None and time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("the portal's Apache does not answer: see error.log")
