"""Throughput of the console's relay, gateway against websockify in turns, both ways, and what it costs.

To the user the peer sends as fast as it can, and the client counts bytes. To the guest the client sends the same
masked message of 64 KiB again and again. How busy the relay was tells whether it was the narrowest place.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from . import peer, relays, websocket
from .measure import Bench
from .relays import Relay

GOAL = 1.5
_WARM_UP_SECONDS = 0.3
_ROOM = 1 << 20
_MESSAGE = 64 * 1024


@dataclass(frozen=True)
class Run:
    """What went through in one round."""

    bytes: int
    seconds: float
    cpu: float

    @property
    def rate(self) -> float:
        """Megabytes (10^6) a second."""
        return self.bytes / 1e6 / self.seconds

    @property
    def cost(self) -> float:
        """CPU seconds for a gigabyte (10^9)."""
        return self.cpu / (self.bytes / 1e9)

    @property
    def busy(self) -> float:
        """Per cent of one core."""
        return 100 * self.cpu / self.seconds


def run(bench: Bench) -> None:
    """Both relays at once, measured in turns."""
    seconds, rounds = bench.rounds(4, 2), bench.rounds(9, 3)
    with relays.peer() as folder, relays.gateway(folder) as gateway, relays.websockify(folder) as websockify:
        both = {"gateway": gateway, "websockify": websockify}
        for way, measure in (("to the user", _down), ("to the guest", _up)):
            variants = {name: _measured(measure, relay, seconds) for name, relay in both.items()}
            _tell(bench, way, bench.in_turns(variants, rounds))


def _measured(measure: Callable[[Relay, float], Run], relay: Relay, seconds: float) -> Callable[[], Run]:
    return lambda: measure(relay, seconds)


def _tell(bench: Bench, way: str, taken: dict[str, list[Run]]) -> None:
    for name, runs in taken.items():
        bench.add(f"{way}, {name}", "MB/s", [run.rate for run in runs])
        bench.add(f"  {name}, CPU for a gigabyte", "s", [run.cost for run in runs])
        bench.add(f"  {name}, busy", "% of a core", [run.busy for run in runs])
    ours, theirs = taken["gateway"], taken["websockify"]
    bench.compare(f"{way}: throughput", [run.rate for run in ours], [run.rate for run in theirs], least=GOAL)
    costs = [run.cost for run in theirs], [run.cost for run in ours]
    bench.compare(f"{way}: bytes for the same CPU", *costs, note="more is better")


def _down(relay: Relay, seconds: float) -> Run:
    room = bytearray(_ROOM)
    with relay.open(peer.BLAST) as wire:
        # tcp(7): the kernel throws the bytes away instead of copying them, so that the client has little to do.
        _for_a_while(_WARM_UP_SECONDS, lambda: wire.recv_into(room, 0, socket.MSG_TRUNC))
        return _timed(relay, seconds, lambda: wire.recv_into(room, 0, socket.MSG_TRUNC))


def _up(relay: Relay, seconds: float) -> Run:
    message = websocket.frame(os.urandom(_MESSAGE))

    def send() -> int:
        wire.sendall(message)
        return len(message)

    with relay.open(peer.SINK) as wire:
        _for_a_while(_WARM_UP_SECONDS, send)
        return _timed(relay, seconds, send)


def _timed(relay: Relay, seconds: float, step: Callable[[], int]) -> Run:
    cpu, began = relay.cpu(), time.monotonic()
    done = _for_a_while(seconds, step)
    return Run(done, time.monotonic() - began, relay.cpu() - cpu)


def _for_a_while(seconds: float, step: Callable[[], int]) -> int:
    """The sum of what `step` gives, which it must."""
    end, total = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        done = step()
        assert done, "the relay hung up"
        total += done
    return total
