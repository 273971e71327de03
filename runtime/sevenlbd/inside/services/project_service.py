"""A project's network while it runs: OpenVPN kept running, heard, and its address held against the site's prefix.

All that it says may be a hostile server's word, or that of a client which was taken over: an address counts if it lies
in the prefix, a state if it is one of those known.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from ...wire import shared_files
from ...wire.private_network import DOWN, UP, Project
from ..init.root import SESSION
from ..net import project_link
from . import helpers, openvpn

log = logging.getLogger(__name__)

_MOST_LINE = 4096  # bytes; a guess: a line of the management interface has some hundred
_MOST_WARNINGS = 3  # of a client that ends again and again, as a server can make it
_FLAP_SECONDS = 1.0  # between two things that are told: connect-retry is as long
_REFUSED = "the server refuses this key, or is not the one that it must be"
# openvpn's own words (src/openvpn/sig.c, ssl.c, forward.c), where people need others.
_WHY = {
    "tls-error": _REFUSED,
    "connection-reset": "the server hangs up: it is down, or refuses this key",
    "connection-failed": "the server cannot be reached",
    "init_instance": "the server cannot be reached",
    "ping-restart": "the server does not answer any more",
    "auth-failure": _REFUSED,
    "server-pushed-connection-reset": "the server sends its clients away",
}
_PEER = struct.Struct("3i")  # struct ucred: pid, uid, gid (unix(7), SO_PEERCRED)


class Tunnel:
    """What is known of the tunnel, told when it changes."""

    def __init__(
        self,
        prefix: str,
        tell: Callable[[str], None],
        set_address: Callable[[str, str], None] = project_link.set_address,
        take_address: Callable[[], None] = project_link.take_address,
    ) -> None:
        self._network = ipaddress.ip_network(prefix)
        self._tell = tell
        self._set_address, self._take_address = set_address, take_address
        self._said = ""
        self.address = ""

    def hear(self, line: str) -> bool:
        """A line of the management interface (management-notes.txt), of which only states are of interest.

        >STATE:time,name,detail,local address,...    Returns whether there was something new in it.
        """
        before, fields = self._said, line.removeprefix(">STATE:").split(",")
        if len(fields) >= 4 and fields[0].isdigit():
            self._hear_state(fields)
        return self._said != before

    def _hear_state(self, fields: list[str]) -> None:
        if fields[1] == "CONNECTED":
            self._up(fields[3])
        elif fields[1] in ("RECONNECTING", "EXITING"):
            self.down(_WHY.get(fields[2], f"OpenVPN is {fields[1].lower()}; logs/openvpn.log has more"))

    def down(self, why: str) -> None:
        """No traffic, then, and no address."""
        self._take_address()
        self.address = ""
        self._say(f"{DOWN} {why}")

    def _up(self, given: str) -> None:
        try:
            address = ipaddress.IPv4Address(given)
        except ValueError:
            self.down("the server gives no address")
            return
        if address not in self._network or address in (self._network[0], self._network[-1]):
            self.down(f"the server gives the address {address}, which is none of {self._network}")
            return
        try:
            self._set_address(str(address), str(self._network))
        except OSError as error:
            self.down(f"the address {address} cannot be set: {error.strerror}")
            return
        self.address = str(address)
        self._say(f"{UP} {address}")

    def _say(self, what: str) -> None:
        if what != self._said:
            self._said = what
            self._tell(what)


@asynccontextmanager
async def joined(project: Project, tell: Callable[[str], None], warn: Callable[[str], None]) -> AsyncIterator[None]:
    """In the project's network, whenever its server lets us, for as long as this lasts. Raises OSError."""
    tunnel = Tunnel(project.prefix, tell)
    with openvpn.told(project) as secret, listening(openvpn.MANAGEMENT) as listener:
        async with helpers.kept_running(
            "openvpn",
            openvpn.command(secret),
            SESSION / shared_files.OPENVPN_LOG,
            sparing(warn),
            pass_fds=[secret],
        ) as kept:
            hearing = asyncio.create_task(listen(listener, tunnel, lambda: kept.process.pid))
            try:
                yield
            finally:
                hearing.cancel()


def sparing(warn: Callable[[str], None]) -> Callable[[str], None]:
    """`warn`, a few times: a server must not use up all that a session says."""
    said = 0

    def say(text: str) -> None:
        nonlocal said
        said += 1
        if said <= _MOST_WARNINGS:
            warn(text + ("; from now on only the log says so" if said == _MOST_WARNINGS else ""))
        else:
            log.warning("%s", text)

    return say


def listening(path: Path) -> socket.socket:
    """Where the client calls; nobody else has come before. Raises OSError."""
    with suppress(FileNotFoundError):
        path.unlink()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(os.fspath(path))
    listener.listen(1)
    listener.setblocking(False)
    return listener


async def listen(listener: socket.socket, tunnel: Tunnel, expected: Callable[[], int]) -> None:
    """Hear one client after the other, until cancelled; whoever is not the process expected is shown out."""
    loop = asyncio.get_running_loop()
    while True:
        wire, _ = await loop.sock_accept(listener)
        pid, _, _ = _PEER.unpack(wire.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
        if pid != expected():
            wire.close()
            continue
        with suppress(OSError, ValueError):
            await _hear(wire, tunnel)
        tunnel.down("OpenVPN has ended, and is started again")


async def _hear(wire: socket.socket, tunnel: Tunnel) -> None:
    reader, writer = await asyncio.open_connection(sock=wire, limit=_MOST_LINE)
    try:
        # From now on each state, and that of now.
        writer.write(b"state on\nstate\n")
        while line := await reader.readline():
            if tunnel.hear(line.decode(errors="replace").strip()):
                await asyncio.sleep(_FLAP_SECONDS)
    finally:
        writer.close()
