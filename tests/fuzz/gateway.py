"""Coverage-guided fuzzing of what strangers can send to the gateway, by hand, for as long as one likes.

    python3.13 -m venv build/fuzz && build/fuzz/bin/pip install atheris==3.1.0
    PYTHONPATH=runtime:build/site build/fuzz/bin/python tests/fuzz/gateway.py rdcleanpath build/fuzz-rdp \\
        tests/unit/corpus/rdcleanpath -max_total_time=120
    PYTHONPATH=runtime:build/site build/fuzz/bin/python tests/fuzz/gateway.py http build/fuzz-http \\
        tests/unit/corpus/http -max_total_time=120

The first folder gets what is found; what broke something is kept as tests/unit/corpus/TARGET/NAME, where the unit
tests run it for good. Everything after the folders goes to libFuzzer. Source: atheris' README.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["pyasn1", "sevenlbd.inside.gateway", "aiohttp"]):
    import aiohttp.http_parser
    from sevenlbd.inside.gateway import limits, rdcleanpath
    from sevenlbd.inside.gateway.app import Gate, application
    from sevenlbd.inside.gateway.fairness import Slots, Visit
    from sevenlbd.wire.gateway import Front

_GIVEN_AWAY = (b"pass-word", b"Set-Cookie", b"<title>desktop", b"Traceback")
_FRONT = Front(
    session="blue-fox",
    account="user1",
    password="pass-word",
    tokens={"desktop": "00" * 32},
    cookie_key="ab" * 32,
    portals=("https://ondemand.example.edu",),
    hosts=("x", "127.0.0.1"),
    console=True,
    clipboard=True,
    login="ann",
    host="node7",
    folder="/tmp/7lbd-1000/blue-fox",
    native=None,
)


def rdcleanpath_target(data: bytes) -> None:
    """A request comes out, or Malformed, and nothing else."""
    with suppress(rdcleanpath.MalformedMessage):
        rdcleanpath.length(data)
        request = rdcleanpath.unpack_request(data)
        rdcleanpath.check_connection_request(request.x224)
    with suppress(rdcleanpath.MalformedMessage):
        rdcleanpath.chose_tls(data)


class _Wire(asyncio.Transport):
    """A connection without a kernel: keeps what the gateway writes."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass


class HttpTarget:
    """One gateway for all inputs; each comes as a connection of its own, in two pieces."""

    def __init__(self, pages: Path) -> None:
        self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self._loop)
        self._gate = Gate(lambda asked: None, ("127.0.0.1", 1), "/nonexistent")
        self._gate.on_front(_FRONT)
        self._gate.guesses.DELAY_SECONDS = 0.0
        self._server = self._loop.run_until_complete(self._made(pages))
        self._slots = Slots(1, 0.0)

    def __call__(self, data: bytes) -> None:
        """No secret comes back, and nothing is raised."""
        self._loop.run_until_complete(self._serve(data))

    async def _made(self, pages: Path) -> aiohttp.web.Server:
        return application(self._gate, pages)

    async def _serve(self, data: bytes) -> None:
        failures: list[Any] = []
        self._loop.set_exception_handler(lambda _, context: failures.append(context))
        protocol = limits.Guarded(self._server, Visit(""), self._slots, lambda: False, known=False)
        wire = _Wire()
        protocol.connection_made(wire)
        half = len(data) // 2
        for piece in (data[:half], data[half:]):
            protocol.data_received(piece)
            for _ in range(6):
                await asyncio.sleep(0)
        protocol.connection_lost(None)
        for _ in range(3):
            await asyncio.sleep(0)
        assert not failures, failures
        assert not any(secret in wire.written for secret in _GIVEN_AWAY), bytes(wire.written)
        assert b"HTTP/1.1 500" not in wire.written, bytes(wire.written)


def main() -> None:
    """Usage: gateway.py rdcleanpath|http [FOLDER...] [-OPTION...]"""
    name = sys.argv.pop(1)
    pages = Path(__file__).parents[2] / "containers" / "appliance" / "web"
    target = {"rdcleanpath": lambda: rdcleanpath_target, "http": lambda: HttpTarget(pages)}[name]()
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
