"""What a client of the session's sees of a guest that is ready, for a machine that boots to nothing.

An image without channels is ready when its guest has its address and its RDP server answers (inside/vm/readiness.py).
The guest's address is made one of the session's own, and this program answers there: X.224, then TLS, then nothing
more. The lease, which no machine asks for, is written where dnsmasq would have written it (ready.py).

    python -I stand_in.py PEM: with this certificate and key; then a line PID, in whose user and network namespace
"""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import os
import socket
import ssl
import struct
import sys
from contextlib import suppress

GUEST, RDP = "169.254.100.15", 3389  # docs/images.md: the contract with every image
CONFIRM = bytes.fromhex("03000013 0e d0 0000 1234 00 02 00 0800 02000000")
"""MS-RDPBCGR 2.2.1.2: X.224 Connection Confirm, with CredSSP chosen."""
_SIOCSIFADDR, _SIOCSIFNETMASK = 0x8916, 0x891C  # <linux/sockios.h>


async def serve(address: str, port: int, pem: str) -> asyncio.Server:
    """Answer there, until the server is closed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, EOFError):
            header = await reader.readexactly(4)
            await reader.readexactly(max(0, int.from_bytes(header[2:]) - len(header)))
            writer.write(CONFIRM)
            await writer.start_tls(context)
            while await reader.read(65536):
                pass
        writer.close()

    return await asyncio.start_server(answer, address, port)


def _enter(pid: int) -> None:
    """Become a process of the session's user and network namespace; entering the first gives every capability in it."""
    libc = ctypes.CDLL(None, use_errno=True)
    for descriptor in [os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY) for kind in ("user", "net")]:
        if libc.setns(descriptor, 0):
            raise OSError(ctypes.get_errno(), "setns")
        os.close(descriptor)


def _take_address(address: str) -> None:
    """Give the loopback device this address as well (netdevice(7))."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
        for call, value in ((_SIOCSIFADDR, address), (_SIOCSIFNETMASK, "255.255.255.255")):
            request = struct.pack("16sHH4s8x", b"lo:7", socket.AF_INET, 0, socket.inet_aton(value))
            fcntl.ioctl(wire, call, request)


async def _stand_in(pem: str) -> None:
    server = await serve(GUEST, RDP, pem)
    print("stands in", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    if called := sys.stdin.readline():
        _enter(int(called))
        _take_address(GUEST)
        asyncio.run(_stand_in(sys.argv[1]))
