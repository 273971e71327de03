"""A pool's service that a test has in its hand: what it offers and wants changes from line to line, over real TLS.

What it says is made by the program's own words (docs/grid-pool.md); what it is told, it keeps.
"""

from __future__ import annotations

import hashlib
import json
import re
import ssl
import subprocess
import threading
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

COLLECTOR = "192.0.2.7:9618"
"""Nobody is there: RFC 5737."""
_TOKEN = "aaaa.bbbb.cccc"  # as an IDTOKEN is spelt
_POLL = 5.0  # seconds; the soonest that a machine obeys


class PoolStandIn:
    """One service, and what it was asked."""

    def __init__(self, folder: Path, images: Path) -> None:
        self.folder, self.images = folder, images
        self.offered: dict[str, str] = {}
        """The current version of each image."""
        self.wanted: dict[str, int] = {}
        """Jobs that wait, by image."""
        self.cpus, self.memory = 1, 1 << 20
        self.reports: list[dict[str, Any]] = []
        self.sent: dict[str, int] = {}
        """Bytes of each file."""
        self.passes = 0
        self.is_away = False
        self.port = 0
        self._certificate()

    def _certificate(self) -> None:
        self.pem = self.folder / "pool.pem"
        words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=pool", "-days", "1"]
        made = ["-keyout", str(self.pem), "-out", str(self.folder / "pool.crt")]
        subprocess.run([*words, *made], check=True, capture_output=True)
        with self.pem.open("a") as file:
            file.write((self.folder / "pool.crt").read_text())
        public = ["openssl", "x509", "-in", str(self.folder / "pool.crt"), "-pubkey", "-noout"]
        text = subprocess.run(public, check=True, capture_output=True).stdout
        der = subprocess.run(
            ["openssl", "pkey", "-pubin", "-outform", "DER"], input=text, check=True, capture_output=True
        ).stdout
        self.pin = urlsafe_b64encode(hashlib.sha256(der).digest()).decode().rstrip("=")

    def enrol(self, state: Path, machine: str = "lab-01") -> None:
        """Make a user's machine belong to it, as `grid enrol` does."""
        place = state / "grid"
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        (place / "token").write_text("a-token-of-this-machine\n")
        lines = {"url": f"https://127.0.0.1:{self.port}", "machine": machine, "pin": self.pin}
        (place / "machine.toml").write_text("".join(f'{name} = "{value}"\n' for name, value in lines.items()))
        for name in ("token", "machine.toml"):
            (place / name).chmod(0o600)

    def answer(self, path: str, body: bytes) -> dict[str, Any]:
        """To one question."""
        if path == "/v1/waiting":
            needs = {"cpus": self.cpus, "memory": self.memory, "disk": 1 << 20}
            demands = [{"vm_name": name, "jobs": jobs, **needs} for name, jobs in self.wanted.items() if jobs]
            return {
                "pool": self._pool(),
                "demands": demands,
                "images": hashlib.sha256(json.dumps(self._images()).encode()).hexdigest(),
                "pace": {"poll": _POLL, "longest": _POLL},
            }
        if path == "/v1/images":
            return {"images": self._images(), "ticket": "a-ticket", "expires": 600.0}
        if path == "/v1/worker":
            self.passes += 1
            return {"pool": self._pool(), "token": _TOKEN, "lifetime": 600.0}
        self.reports.append(json.loads(body))
        return {"pace": {"poll": _POLL, "longest": _POLL}}

    @staticmethod
    def _pool() -> dict[str, str]:
        return {"collector": COLLECTOR, "trust_domain": "pool.example.edu"}

    def _images(self) -> list[dict[str, Any]]:
        return [self._image(self.images / name / version) for name, version in self.offered.items()]

    @staticmethod
    def _image(folder: Path) -> dict[str, Any]:
        files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
        listed = [{"name": str(path.relative_to(folder)), "size": path.stat().st_size} for path in files]
        digest = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
        return {"name": folder.parent.name, "version": folder.name, "manifest": digest, "files": listed}


class _Handler(BaseHTTPRequestHandler):
    pool: PoolStandIn

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.pool.is_away:
            self._send(503, json.dumps({"what": "away"}).encode())
        elif self.path.startswith("/v1/images/"):
            self._send_file(self.path.removeprefix("/v1/images/"))
        else:
            self._send(200, json.dumps(self.pool.answer(self.path, body)).encode())

    def _send_file(self, name: str) -> None:
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"])
        assert found
        begin, last = map(int, found.groups())
        path = self.pool.images / name
        size = path.stat().st_size
        with path.open("rb") as file:
            file.seek(begin)
            content = file.read(last + 1 - begin)
        self.pool.sent[name] = self.pool.sent.get(name, 0) + len(content)
        self._send(206, content, ("Content-Range", f"bytes {begin}-{last}/{size}"))

    def _send(self, status: int, content: bytes, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in (("Content-Length", str(len(content))), *headers):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@contextmanager
def serving(folder: Path, images: Path) -> Iterator[PoolStandIn]:
    """The service, in threads of its own."""
    pool = PoolStandIn(folder, images)
    handler = type("Handler", (_Handler,), {"pool": pool})
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pool.pem)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        pool.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield pool
        finally:
            server.shutdown()
