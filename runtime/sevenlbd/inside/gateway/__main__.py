"""The process: python -I -m sevenlbd.inside.gateway NAME=FD... rdp-target=HOST:PORT [vnc-target=/PATH] [web-tls]

Descriptors are web (Unix), web-tcp, rdp, rdp-tls and vnc, which listen; web-tcp-peers and rdp-tls-peers, by which it is
learnt whose a connection to those is; and link, the wire to the supervisor. Without a vnc-target there is no console.
`web-tls` makes web-tcp speak HTTPS.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import sys
from collections.abc import Sequence

from ...base import logs, steady_memory
from ...wire import tls
from ...wire.inner_files import NATIVE_RDP, PRIVATE
from . import native, native_relay
from .app import application
from .gate import Gate
from .peers import Peers
from .server import Listener, serve
from .supervisor_link import Link


async def _serve(words: Sequence[str]) -> None:
    given = {name: value for name, _, value in (argument.partition("=") for argument in words)}
    rdp, vnc = given["rdp-target"], given.get("vnc-target", "")
    link = Link(_inherited(given["link"]))
    host, _, port = rdp.rpartition(":")
    gate = Gate(link.send, (host, int(port)), vnc)
    pages = [Listener(_inherited(given["web"]))]
    if "web-tcp" in given:
        peers = Peers(_inherited(given["web-tcp-peers"]) if "web-tcp-peers" in given else None)
        pages.append(Listener(_inherited(given["web-tcp"]), _tls() if "web-tls" in given else None, peers))
    async with asyncio.TaskGroup() as all_of_it:
        all_of_it.create_task(steady_memory.keep())
        all_of_it.create_task(link.follow(gate))
        all_of_it.create_task(serve(application(gate), gate, pages))
        all_of_it.create_task(native_relay.serve(_inherited(given["rdp"]), rdp, gate.traffic["rdp"]))
        if "rdp-tls" in given:
            callers = Peers(_inherited(given["rdp-tls-peers"]) if "rdp-tls-peers" in given else None)
            all_of_it.create_task(native.serve(_inherited(given["rdp-tls"]), callers, str(NATIVE_RDP)))
        if vnc:
            all_of_it.create_task(native_relay.serve(_inherited(given["vnc"]), vnc, gate.traffic["vnc"]))


def _inherited(descriptor: str) -> socket.socket:
    return socket.socket(fileno=int(descriptor))


def _tls() -> ssl.SSLContext:
    """TLS 1.2 at least, with the certificate that the supervisor has sent across the wall."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(PRIVATE / tls.WEB)
    return context


if __name__ == "__main__":
    logs.begin(logging.INFO)
    steady_memory.begin()
    asyncio.run(_serve(sys.argv[1:]))
