"""For the moment: the raw relays only. Usage: python -I -m sevenlbd.inside.gateway FD=HOST:PORT|FD=/PATH ..."""

from __future__ import annotations

import asyncio
import socket
import sys

from .relay import serve


async def _serve() -> None:
    pairs = [argument.partition("=") for argument in sys.argv[1:]]
    await asyncio.gather(*(serve(socket.socket(fileno=int(fd)), target) for fd, _, target in pairs))


if __name__ == "__main__":
    asyncio.run(_serve())
