"""Runs inside the SIF, by its Python: a gateway without a session. python -m tests.bench.gateway_stand FOLDER RDP-PORT

Plays the supervisor: opens the gateway's sockets in FOLDER, lets it in, tells it who may come in. The guest's screen is
FOLDER/peer.sock, its desktop a port of the loopback. Prints the gateway's pid, its port and a token; ends with its
standard input.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from sevenlbd.base.process import ENVIRONMENT, python
from sevenlbd.wire import packets
from sevenlbd.wire.gateway import INWARDS, OUTWARDS, Front, Hello
from sevenlbd.wire.state import Phase, SessionState


@dataclass(frozen=True)
class Stand:
    """The gateway's process, its port, and what opens it."""

    pid: int
    port: int
    token: str


def main() -> None:
    """Start, tell, wait."""
    with started(Path(sys.argv[1]), int(sys.argv[2])) as stand:
        print(json.dumps(asdict(stand)), flush=True)
        sys.stdin.read()


@contextmanager
def started(folder: Path, rdp_port: int, *, https: bool = False) -> Iterator[Stand]:
    """The process as a session starts it; its log is ours. For `https` its certificate lies where it looks for it."""
    listeners = {name: _unix(folder / f"{name}.sock") for name in ("web", "rdp", "vnc")}
    listeners["web-tcp"] = socket.create_server(("127.0.0.1", 0))
    ours, theirs = packets.pair()
    words = [f"{name}={listener.fileno()}" for name, listener in listeners.items()]
    words += [f"link={theirs.fileno()}", f"rdp-target=127.0.0.1:{rdp_port}", f"vnc-target={folder}/peer.sock"]
    words += ["web-tls"] if https else []
    inherited = [listener.fileno() for listener in listeners.values()] + [theirs.fileno()]
    gateway = subprocess.Popen(python("sevenlbd.inside.gateway", *words), pass_fds=inherited, env=ENVIRONMENT)
    theirs.close()
    token = secrets.token_urlsafe(32)
    threading.Thread(target=_supervise, args=(ours, token), daemon=True).start()
    try:
        yield Stand(gateway.pid, listeners["web-tcp"].getsockname()[1], token)
    finally:
        gateway.terminate()
        gateway.wait()
        for listener in listeners.values():
            listener.close()


def _unix(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    return listener


def _supervise(wire: socket.socket, token: str) -> None:
    """Answer every hello."""
    front = Front(
        session="bench",
        account="user1",
        password=secrets.token_urlsafe(16),
        tokens={"desktop": hashlib.sha256(token.encode()).hexdigest()},
        cookie_key=secrets.token_hex(32),
        portals=(),
        hosts=("localhost",),
        console=True,
        clipboard=False,
        login="ann",
        host="node1",
        folder="/nowhere",
        native=None,
    )
    state = SessionState(*("bench", "ann", "node1", "bench", "kvm", "tap"), pid=0, folder="/nowhere", phase=Phase.READY)
    while data := wire.recv(packets.MAX_MESSAGE):
        if OUTWARDS.unpack(data) == Hello():
            wire.send(INWARDS.pack(front))
            wire.send(INWARDS.pack(state))


if __name__ == "__main__":
    main()
