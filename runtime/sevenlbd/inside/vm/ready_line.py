"""The port that a guest says on that it is up. Whoever comes there is a stranger: few, short, and not for long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ..net import network

_LINE_SECONDS = 10.0  # the guest has it ready; a scanner that says nothing is hung up on
_MAX_LINE = 256  # bytes; docs/images.md: any text, and one line is enough
_MAX_CALLERS = 16  # a guess: a guest calls once, or again when it starts anew


class ReadyLine:
    """The contract's third clause: one line on TCP port 54321."""

    def __init__(self) -> None:
        self.came = asyncio.Event()
        self._open = 0

    @asynccontextmanager
    async def listening(self, mode: str) -> AsyncIterator[None]:
        """Listen on the contract's address; with user-mode networking QEMU leads the guest to our loopback."""
        address = network.host_address(mode)
        server = await asyncio.start_server(self._on_connect, address, network.READY_PORT, limit=_MAX_LINE, backlog=4)
        async with server:
            yield

    async def _on_connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open <= _MAX_CALLERS:
                line = await asyncio.wait_for(reader.readline(), _LINE_SECONDS)
                if line:
                    self.came.set()
        except (TimeoutError, ValueError, ConnectionError):
            pass
        finally:
            self._open -= 1
            writer.close()
