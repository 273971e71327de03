"""The far end of a relay: a server that does what one byte of the client's asks for. python -m ... PATH

PATH is that of a Unix socket; `tcp` is a free port of the loopback. Prints `ready`, or the port. One process a
connection, so that none waits for another.
"""

from __future__ import annotations

import os
import socket
import socketserver
import sys
import time
from typing import Any

BLAST, PACED, ECHO, SINK = b"b", b"p", b"e", b"s"
PACE = 2_000_000
"""Bytes a second: a desktop on which something moves all the time."""
_CHUNK = 64 * 1024
_PICTURE = 1 << 20
_FRAMES_A_SECOND = 20


class Peer(socketserver.BaseRequestHandler):
    """One connection."""

    def handle(self) -> None:
        """Until the client goes."""
        wish = self.request.recv(1)
        if not wish:
            return  # somebody who only looked whether we are there
        try:
            {BLAST: self._blast, PACED: self._paced, ECHO: self._echo, SINK: self._sink}[wish]()
        except OSError:
            return

    def _blast(self) -> None:
        # The kernel sends the file's own pages, so that the relay, which copies, is the narrowest place.
        file = os.memfd_create("picture")
        os.write(file, os.urandom(_PICTURE))
        while True:
            os.sendfile(self.request.fileno(), file, 0, _PICTURE)

    def _paced(self) -> None:
        data = os.urandom(PACE // _FRAMES_A_SECOND)
        while True:
            self.request.sendall(data)
            time.sleep(1 / _FRAMES_A_SECOND)

    def _echo(self) -> None:
        while data := self.request.recv(_CHUNK):
            self.request.sendall(data)

    def _sink(self) -> None:
        room = bytearray(1 << 20)
        while self.request.recv_into(room):
            pass


class _Unix(socketserver.ForkingMixIn, socketserver.UnixStreamServer):
    request_queue_size = 64
    max_children = 200


class _Tcp(socketserver.ForkingMixIn, socketserver.TCPServer):
    request_queue_size = 64
    max_children = 200

    def process_request(self, request: Any, client_address: Any) -> None:
        request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().process_request(request, client_address)


def main() -> None:
    """Serve until killed."""
    over_tcp = sys.argv[1] == "tcp"
    with _Tcp(("127.0.0.1", 0), Peer) if over_tcp else _Unix(sys.argv[1], Peer) as server:
        print(server.socket.getsockname()[1] if over_tcp else "ready", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
