"""What goes on beside the session that lasts: pages and viewers, copies over SMB, and sessions that come and go."""

from __future__ import annotations

import random
import signal
import socket
from pathlib import Path
from urllib.parse import urlsplit

import harness
import wire
from harness import HOST, Session
from web import token, url

_SECONDS = 60.0
_VIEWERS = 3


def watch(session: Session) -> None:
    """Log in, read the page and its state, and look at the screen through some WebSockets, that are just dropped."""
    here = url(session)
    cookie = wire.cookie(here, token(session, "console"))
    for path in ("", "api/status"):
        assert wire.ask("GET", here + path, {"Cookie": cookie}).status == 200
    for _ in range(_VIEWERS):
        _view(here, cookie)
    with socket.socket(socket.AF_UNIX) as screen:  # VNC as a native client has it, through the socket in the folder
        screen.settimeout(_SECONDS)
        screen.connect(str(session.folder / "vnc.sock"))
        assert screen.recv(12).startswith(b"RFB ")


def _view(here: str, cookie: str) -> None:
    parts = urlsplit(here)
    head = {"Host": parts.netloc, **wire.handshake(f"{parts.scheme}://{parts.netloc}", cookie)}
    text = f"GET {parts.path}ws/console HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in head.items())
    with socket.create_connection((parts.hostname or "", parts.port or 80), _SECONDS) as link:
        link.sendall(text.encode() + b"\r\n")
        came = b""
        while b"RFB " not in came:
            data = link.recv(4096)
            assert data, came[:500]
            came += data
        assert came.startswith(b"HTTP/1.1 101"), came[:200]


def copy(session: Session, place: Path, drawn: random.Random) -> None:
    """A file there, and back, and gone."""
    source = place / "source"
    source.write_bytes(drawn.randbytes(drawn.randrange(1 << 20)))
    login = ["-U", f"{session.account()}%{session.password()}"]
    script = f"put {source} soak; get soak {place / 'back'}; del soak"
    done = session.inside("smbclient", *login, f"//{HOST}/data", "-c", script)
    assert (place / "back").read_bytes() == source.read_bytes(), done.stdout + done.stderr


def come_and_go(image: Path, base: Path, name: str) -> None:
    """Another session of the same user, to its end."""
    session = harness.start("--image", str(image), "--name", name, "--no-home-share", base=base)
    try:
        session.wait_phase("booting", _SECONDS)
        session.send(signal.SIGTERM)
        session.wait_end(_SECONDS)
    finally:
        session.kill()
