"""Native RDP over mutual TLS: stunnel, behind the gateway, for the client of this session alone.

Who has no certificate by the session's own authority is gone before the guest has heard of them.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...base import atomic
from ...wire import tls
from ...wire.inner_files import NATIVE_RDP, PRIVATE

CONFIGURATION = PRIVATE / "stunnel.conf"

# Socket activation (sd_listen_fds(3)): the socket is descriptor 3, and LISTEN_PID the process itself.
# Two descriptors a connection.
_BACKLOG = 64
_ACTIVATE = 'ulimit -n 512; exec 3<&"$1"-; LISTEN_FDS=1 LISTEN_PID=$$ exec /usr/bin/stunnel4 "$2"'


def write(certificates: dict[str, str], folder: Path = PRIVATE) -> None:
    """Put what came across the wall where it is served from, in the private tmpfs. Raises OSError."""
    (folder / tls.FOLDER).mkdir(mode=0o700, exist_ok=True)
    for name in tls.SERVED:
        if text := certificates.get(str(name)):
            atomic.replace(folder / name, text.encode())


@contextmanager
def listening() -> Iterator[socket.socket]:
    """stunnel's socket, which outlives it: nobody is turned away while it is started anew. Raises OSError."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(NATIVE_RDP))
        listener.listen(_BACKLOG)
        yield listener


def stunnel(descriptor: int) -> list[str]:
    """The command that serves native RDP on a listening socket that it inherits."""
    return ["/usr/bin/bash", "-c", _ACTIVATE, "stunnel", str(descriptor), str(CONFIGURATION)]
