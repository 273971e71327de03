"""Three ways to the same peer, on the same kind of sockets: the gateway, websockify, and none of them.

Both listen on the loopback and connect to the peer's Unix socket. websockify runs on the machine's Python with numpy,
without which it unmasks byte by byte; the gateway on the appliance's Python, as it always does.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlencode

from tests.session.harness import REPO, SIF, descendants

from . import websocket
from .sessions import tree

_TICKS = os.sysconf("SC_CLK_TCK")
_PATIENCE = 20.0
T = TypeVar("T")


@dataclass(frozen=True)
class Relay:
    """A way to the peer through a WebSocket."""

    pid: int
    port: int
    path: str
    cookie: str = ""

    def open(self, wish: bytes) -> socket.socket:
        """A connection on which the peer does what `wish` says."""
        wire = self.shake_hands()
        wire.sendall(websocket.frame(wish))
        return wire

    def shake_hands(self) -> socket.socket:
        """A connection and no more."""
        return websocket.connect(self.port, self.path, self.cookie)

    def cpu(self) -> float:
        """Seconds that its processes have taken, with those that have ended."""
        return sum(seconds_of(pid) for pid in descendants(self.pid))


def seconds_of(pid: int) -> float:
    """utime, stime, cutime and cstime of proc(5)."""
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return sum(int(ticks) for ticks in fields[11:15]) / _TICKS
    return 0.0


@contextmanager
def peer() -> Iterator[Path]:
    """The folder in which the peer listens, as peer.sock."""
    folder = Path(tempfile.mkdtemp(prefix="7b-"))
    call = [sys.executable, "-m", "tests.bench.peer", str(folder / "peer.sock")]
    server = subprocess.Popen(call, cwd=REPO, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert server.stdout
        assert server.stdout.readline() == "ready\n"
        yield folder
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
        shutil.rmtree(folder, ignore_errors=True)


def direct(folder: Path, wish: bytes) -> socket.socket:
    """The peer itself."""
    wire = socket.socket(socket.AF_UNIX)
    wire.connect(str(folder / "peer.sock"))
    wire.sendall(wish)
    return wire


@contextmanager
def gateway(folder: Path, rdp_port: int = 1) -> Iterator[Relay]:
    """The SIF's gateway; its desktop is at a port of the loopback, if one is wanted."""
    call = ["apptainer", "exec", "--cleanenv", "--bind", str(REPO), "--pwd", str(REPO), *tree()]
    call += ["--env", "PYTHONDONTWRITEBYTECODE=1", str(SIF), "python3", "-m", "tests.bench.gateway_stand"]
    with subprocess.Popen(
        [*call, str(folder), str(rdp_port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as stand:
        assert stand.stdin
        assert stand.stdout
        try:
            found = json.loads(stand.stdout.readline())
            cookie = until(lambda: _log_in(found["port"], found["token"]))
            yield Relay(found["pid"], found["port"], "/ws/console", cookie)
        finally:
            stand.stdin.close()
            stand.wait(_PATIENCE)
            for name in ("web", "rdp", "vnc"):
                (folder / f"{name}.sock").unlink(missing_ok=True)


def _log_in(port: int, token: str) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)
    connection.request(
        "POST", "/login", urlencode({"token": token}), {"Content-Type": "application/x-www-form-urlencoded"}
    )
    answer = connection.getresponse()
    assert answer.status == http.client.SEE_OTHER, answer.read()
    return answer.headers["Set-Cookie"].partition(";")[0]


@contextmanager
def websockify(folder: Path) -> Iterator[Relay]:
    """websockify as its users start it, without its log."""
    port = free_port()
    call = [sys.executable, "-m", "websockify", f"--unix-target={folder}/peer.sock", f"127.0.0.1:{port}"]
    with subprocess.Popen(
        call, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        try:
            until(lambda: socket.create_connection(("127.0.0.1", port))).close()
            yield Relay(process.pid, port, "/websockify")
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def free_port() -> int:
    """A port where nobody listens yet."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


def until(attempt: Callable[[], T]) -> T:
    """What `attempt` gives as soon as somebody listens."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return attempt()
        except ConnectionError:
            assert time.monotonic() < deadline, "nobody listens"
            time.sleep(0.05)
