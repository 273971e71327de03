"""A network between a browser and the session's page, which a test cuts, silences and mends."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from urllib.parse import urlsplit

import web
from harness import Session


class Line:
    """A line to the session's page that can be cut and mended."""

    def __init__(self, session: Session) -> None:
        self._far = urlsplit(web.url(session))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ends: list[socket.socket] = []
        self._whole = True
        self._speaks = threading.Event()
        self._speaks.set()
        self._sockets: list[threading.Event] = []
        threading.Thread(target=self._accept, daemon=True).start()
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}/"

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                if not self._whole:
                    near.close()
                    continue
                far = socket.create_connection((self._far.hostname or "", self._far.port or 0))
                self._ends += [near, far]
                speaks = threading.Event()
                speaks.set()
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self._copy, args=(one, other, speaks), daemon=True).start()

    def _copy(self, one: socket.socket, other: socket.socket, speaks: threading.Event) -> None:
        with suppress(OSError):
            while data := one.recv(1 << 16):
                if data.startswith(b"GET /ws/"):
                    self._sockets.append(speaks)
                self._speaks.wait()
                speaks.wait()
                other.sendall(data)
        for end in (one, other):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def silence(self) -> None:
        """Nothing more comes through, and nobody is told: what is sent waits."""
        self._speaks.clear()

    def silence_sockets(self) -> None:
        """The same for the WebSockets that there are; everything else goes on, and so do later ones."""
        for speaks in self._sockets:
            speaks.clear()

    def speak(self) -> None:
        """All that waited comes at once."""
        self._speaks.set()
        for speaks in self._sockets:
            speaks.set()

    def cut(self) -> None:
        self._whole = False
        self.speak()
        for end in self._ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        self._whole = True

    def close(self) -> None:
        self.cut()
        self._listener.close()
