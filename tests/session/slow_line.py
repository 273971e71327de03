"""A line like a bad mobile connection: so many kbit/s each way for all together, so many milliseconds there and back.

The kernel's own (tc netem) wants root; this is an ordinary process between browser and session.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

_PACKET = 1460  # bytes in one of Ethernet's, RFC 879


class _Way:
    """One direction: packets one behind the other, each then on its way for the same time."""

    def __init__(self, bytes_a_second: float, delay: float) -> None:
        self._rate, self._delay = bytes_a_second, delay
        self._free = 0.0
        self.carried = 0

    async def copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """All of one connection, which shares the line with the others packet by packet."""
        loop = asyncio.get_running_loop()
        with suppress(OSError):
            while data := await reader.read(_PACKET):
                self._free = max(loop.time(), self._free) + len(data) / self._rate
                self.carried += len(data)
                loop.call_at(self._free + self._delay, self._write, writer, data)
                await asyncio.sleep(self._free - loop.time())
        await asyncio.sleep(self._delay)
        with suppress(OSError):
            writer.close()

    @staticmethod
    def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
        if not writer.is_closing():
            writer.write(data)


class SlowLine:
    """`address` leads to the session's page over the slow line; `received` counts what came over it."""

    def __init__(self, to: str, kbit: float, milliseconds: float) -> None:
        self._far = urlsplit(to)
        rate, self._round_trip = kbit * 1000 / 8, milliseconds / 1000
        self._up, self._down = (_Way(rate, self._round_trip / 2) for _ in range(2))
        self.address = ""

    @property
    def received(self) -> int:
        """Bytes that went to the browser."""
        return self._down.carried

    async def serve(self, ready: threading.Event) -> None:
        """Until it is cancelled."""
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        ready.set()
        await server.serve_forever()

    async def _connected(self, near: asyncio.StreamReader, to_near: asyncio.StreamWriter) -> None:
        await asyncio.sleep(self._round_trip)  # the handshake's
        with suppress(OSError):
            far, to_far = await asyncio.open_connection(self._far.hostname, self._far.port)
            await asyncio.gather(self._up.copy(near, to_far), self._down.copy(far, to_near))


@contextmanager
def slow_line(to: str, kbit: float = 300, milliseconds: float = 300) -> Iterator[SlowLine]:
    """The line, while it is wanted."""
    line, ready, loop = SlowLine(to, kbit, milliseconds), threading.Event(), asyncio.new_event_loop()
    serving = loop.create_task(line.serve(ready))

    def run() -> None:
        with suppress(asyncio.CancelledError):
            loop.run_until_complete(serving)
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(10)
    yield line
    loop.call_soon_threadsafe(serving.cancel)
    thread.join(10)
