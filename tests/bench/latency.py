"""What a relay adds to the way there and back: one message, echoed by the peer, then the next one.

The same message goes through the gateway, through websockify and straight to the peer, in turns, first alone and then
beside 20 other connections: each at the pace of a moving desktop, and each as fast as it goes.
"""

from __future__ import annotations

import selectors
import socket
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from . import peer, relays, websocket
from .measure import Bench
from .neighbours import beside
from .relays import Relay

NEIGHBOURS = 20
_SIZES = (1, 64)
_ROOM = 1 << 20
_SIGN_SECONDS = 5.0

Echo = Callable[[int], list[float]]
"""Microseconds of each of so many ways there and back."""


def run(bench: Bench) -> None:
    """Each relay has its own turn with its neighbours: they would disturb the other's."""
    rounds = bench.rounds(9, 3)
    with relays.peer() as folder, relays.gateway(folder) as gateway, relays.websockify(folder) as websockify:
        both = {"gateway": gateway, "websockify": websockify}
        for size in _SIZES:
            ways = {name: _through(relay, size) for name, relay in both.items()}
            taken = bench.in_turns(
                {**_counted(bench, ways), **_counted(bench, {"none": _straight(folder, size)})}, rounds
            )
            for name in both:
                _tell(bench, f"{size} B, {name}", taken[name], taken["none"])
        for kind, wish in (("moving desktops", peer.PACED), ("at full speed", peer.BLAST)):
            for name, relay in both.items():
                with beside(_read_all, relay, wish):
                    ways = {"with": _through(relay, 64), "none": _straight(folder, 64)}
                    taken = bench.in_turns(_counted(bench, ways), rounds)
                _tell(bench, f"64 B beside {NEIGHBOURS} {kind}, {name}", taken["with"], taken["none"])


def _counted(bench: Bench, ways: dict[str, Echo]) -> dict[str, Callable[[], list[float]]]:
    count = bench.rounds(2000, 300)
    return {name: partial(way, count) for name, way in ways.items()}


def _tell(bench: Bench, name: str, ours: list[list[float]], none: list[list[float]]) -> None:
    """What is added to the median and to the 99th percentile, round by round."""
    for word, figure in (("median", statistics.median), ("p99", _p99)):
        added = [figure(some) - figure(others) for some, others in zip(ours, none, strict=True)]
        bench.add(f"{name}: added, {word}", "µs", added)


def _p99(samples: list[float]) -> float:
    return statistics.quantiles(samples, n=100)[98]


def _through(relay: Relay, size: int) -> Echo:
    def echo(count: int) -> list[float]:
        message = websocket.frame(bytes(size))
        with relay.open(peer.ECHO) as wire:
            return _taken(count, lambda: websocket.read_short(wire, size) if wire.send(message) else None)

    return echo


def _straight(folder: Path, size: int) -> Echo:
    def echo(count: int) -> list[float]:
        message = bytes(size)
        with relays.direct(folder, peer.ECHO) as wire:
            return _taken(count, lambda: wire.recv(size, socket.MSG_WAITALL) if wire.send(message) else None)

    return echo


def _taken(count: int, there_and_back: Callable[[], object]) -> list[float]:
    there_and_back()  # the connection's own beginning
    samples = []
    for _ in range(count):
        began = time.perf_counter()
        there_and_back()
        samples.append(1e6 * (time.perf_counter() - began))
    return samples


def _read_all(relay: Relay, wish: bytes) -> None:
    """Somebody who reads all that comes on so many connections, and tells the relay that they are alive."""
    room = bytearray(_ROOM)
    wires = [relay.open(wish) for _ in range(NEIGHBOURS)]
    last_sign = time.monotonic()
    with selectors.DefaultSelector() as selector:
        for wire in wires:
            selector.register(wire, selectors.EVENT_READ)
        while True:
            if time.monotonic() > last_sign + _SIGN_SECONDS:
                last_sign = time.monotonic()
                for wire in wires:
                    wire.send(websocket.PONG)
            for key, _ in selector.select():
                assert isinstance(key.fileobj, socket.socket)
                assert key.fileobj.recv_into(room, 0, socket.MSG_TRUNC), "the relay hung up"
