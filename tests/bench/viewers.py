"""Memory of the gateway: alone, with four consoles, with a desktop and three consoles. All of them move.

PSS, as in memory.py. The desktop is a server that speaks TLS behind an X.224 confirm and then sends pictures, which is
all that the gateway sees of one.
"""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from . import peer, relays, websocket
from .measure import Bench
from .memory import pss
from .relays import Relay

_SECONDS = 5.0
_ROOM = 1 << 20
_CONFIRM = bytes.fromhex("030000130ed000000000000200080002000000")  # MS-RDPBCGR 2.2.1.2: network-level authentication
_X224 = bytes.fromhex("030000130ee000000000000100080003000000")  # 2.2.1.1: the request for it
_FRAMES_A_SECOND = 20


def run(bench: Bench) -> None:
    """A fresh gateway each time, as what it once took it may keep."""
    for name, desktops, consoles in (("idle", 0, 0), ("4 consoles", 0, 4), ("1 desktop, 3 consoles", 1, 3)):
        sizes = bench.in_turns({name: partial(_size, desktops, consoles)}, bench.rounds(3))[name]
        bench.add(f"gateway, {name}", "MB", sizes)


def _size(desktops: int, consoles: int) -> float:
    with ExitStack() as stack:
        folder = stack.enter_context(relays.peer())
        port = stack.enter_context(_desktop(folder))
        gateway = stack.enter_context(relays.gateway(folder, port))
        wires = [gateway.open(peer.PACED) for _ in range(consoles)]
        wires += [_open_desktop(gateway, f"tab{number}") for number in range(desktops)]
        seen = [_Viewer(stack.enter_context(wire)) for wire in wires]
        time.sleep(_SECONDS)
        for viewer in seen:
            assert viewer.bytes > peer.PACE * _SECONDS / 4, f"{viewer.bytes} bytes came: a viewer stands still"
        return pss(gateway.pid)


class _Viewer:
    """Reads all that comes, and counts."""

    def __init__(self, wire: socket.socket) -> None:
        self.bytes = 0
        self._wire = wire
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        room = bytearray(_ROOM)
        try:
            while count := self._wire.recv_into(room):
                self.bytes += count
        except OSError:
            return


def _open_desktop(gateway: Relay, tab: str) -> socket.socket:
    """What IronRDP's client does: RDCleanPath (see the gateway's rdcleanpath), then whatever comes."""
    wire = replace(gateway, path=f"/ws/rdp?tab={tab}").shake_hands()
    fields = ((0, 0x02, (3390).to_bytes(2, "big")), (2, 0x0C, b"desktop:3389"), (3, 0x0C, b"x"), (6, 0x04, _X224))
    wire.sendall(websocket.frame(_der(0x30, b"".join(_der(0xA0 | n, _der(tag, text)) for n, tag, text in fields))))
    return wire


def _der(tag: int, content: bytes) -> bytes:
    """A short value (X.690 8.1.3.4)."""
    assert len(content) < 128
    return bytes((tag, len(content))) + content


@contextmanager
def _desktop(folder: Path) -> Iterator[int]:
    """The port of the server."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    call = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=desktop", "-days", "2"]
    subprocess.run([*call, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_serve, args=(server, tls), daemon=True).start()
        yield server.getsockname()[1]


def _serve(server: socket.socket, tls: ssl.SSLContext) -> None:
    picture = bytes(peer.PACE // _FRAMES_A_SECOND)
    try:
        while True:
            wire, _ = server.accept()
            assert wire.recv(len(_X224), socket.MSG_WAITALL)[5] == _X224[5], "no connection request"
            wire.sendall(_CONFIRM)
            with tls.wrap_socket(wire, server_side=True) as secured:
                while True:
                    secured.sendall(picture)
                    time.sleep(1 / _FRAMES_A_SECOND)
    except OSError:
        return
