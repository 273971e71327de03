"""The egress relay against socat and against a direct connection, in turns: throughput, and what it adds to latency.

All three lead to the same server on the loopback, with 1 and with 50 connections. socat runs as its users run it for
this: a process forked for each connection. The server, the client and the relay share the machine's cores, so that the
direct connection is as fast as copying twice is; the ratios count.
"""

from __future__ import annotations

import json
import selectors
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial

from tests.session.harness import REPO, SIF, descendants

from . import peer
from .measure import Bench
from .neighbours import beside
from .relays import free_port, seconds_of, until
from .sessions import tree

MANY = 50
_WARM_UP_SECONDS, _WARM_UP_SECONDS_EACH = 0.3, 0.03
_CHUNK = 256 * 1024
_MESSAGE = bytes(64)
_PACE_SECONDS = 0.02
HOME = "127.0.0.1"


class Way:
    """A way to the server: its port, and the process whose work it is; 0 for nobody's."""

    def __init__(self, name: str, port: int, pid: int = 0) -> None:
        self.name, self.port, self.pid = name, port, pid

    def open(self, wish: bytes) -> socket.socket:
        """A connection on which the server does what `wish` says."""
        wire = socket.create_connection((HOME, self.port))
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wire.sendall(wish)
        return wire


def run(bench: Bench) -> None:
    """Throughput both ways, then latency, each with one connection and with many."""
    with ExitStack() as stack:
        server = stack.enter_context(_server())
        relay, socat = stack.enter_context(_relay(server)), stack.enter_context(_socat(server))
        ways = {way.name: way for way in (relay, socat, Way("direct", server))}
        for count in (1, MANY):
            for direction, measure in (("to the guest", _down), ("to the server", _up)):
                _throughput(bench, ways, f"{direction}, {count} connection{'s' * (count > 1)}", count, measure)
        for count in (1, MANY):
            _latency(bench, ways, count)


def _throughput(
    bench: Bench, ways: dict[str, Way], what: str, count: int, measure: Callable[[Way, int, float], tuple[float, float]]
) -> None:
    seconds = bench.rounds(4, 2)
    variants = {name: partial(measure, way, count, seconds) for name, way in ways.items()}
    taken = bench.in_turns(variants, bench.rounds(7, 2))
    rates = {name: [rate for rate, _ in runs] for name, runs in taken.items()}
    for name, samples in rates.items():
        bench.add(f"{what}: {name}", "MB/s", samples)
        if name != "direct":
            bench.add("  CPU for a gigabyte", "s", [cost for _, cost in taken[name]])
    bench.compare(f"{what}: relay against socat", rates["relay"], rates["socat"], least=1.0)
    bench.compare(f"{what}: relay against direct", rates["relay"], rates["direct"])


def _down(way: Way, count: int, seconds: float) -> tuple[float, float]:
    room = bytearray(1 << 20)

    def receive(wire: socket.socket) -> int:
        # tcp(7), MSG_TRUNC: the kernel throws the bytes away, so that the client has little to do.
        return wire.recv_into(room, 0, socket.MSG_TRUNC)

    return _busy(way, count, seconds, peer.BLAST, selectors.EVENT_READ, receive)


def _up(way: Way, count: int, seconds: float) -> tuple[float, float]:
    data = bytes(_CHUNK)
    return _busy(way, count, seconds, peer.SINK, selectors.EVENT_WRITE, lambda wire: wire.send(data))


def _busy(
    way: Way, count: int, seconds: float, wish: bytes, event: int, step: Callable[[socket.socket], int]
) -> tuple[float, float]:
    """Megabytes (10^6) a second over all connections, and the CPU seconds that the relay took for a gigabyte."""
    with ExitStack() as stack, selectors.DefaultSelector() as selector:
        for _ in range(count):
            wire = stack.enter_context(way.open(wish))
            wire.setblocking(False)
            selector.register(wire, event)
        # The server forks for each, and a connection's window grows: that is not what is asked for.
        _for_a_while(selector, _WARM_UP_SECONDS + count * _WARM_UP_SECONDS_EACH, step)
        cpu, began = _cpu(way), time.monotonic()
        moved = _for_a_while(selector, seconds, step)
        lasted = time.monotonic() - began
        # Of the processes that are there now: socat's of the round before may still have been on their way out.
        taken = sum(after - cpu.get(pid, 0.0) for pid, after in _cpu(way).items())
    return moved / 1e6 / lasted, taken / (moved / 1e9)


def _for_a_while(selector: selectors.BaseSelector, seconds: float, step: Callable[[socket.socket], int]) -> int:
    end, moved = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        for key, _ in selector.select(1):
            assert isinstance(key.fileobj, socket.socket)
            done = step(key.fileobj)
            assert done, "the relay hung up"
            moved += done
    return moved


def _latency(bench: Bench, ways: dict[str, Way], count: int) -> None:
    """One connection's echo, alone or beside others that echo all the time, 50 times a second each."""
    tries = bench.rounds(3000, 400)
    taken: dict[str, list[list[float]]] = {name: [] for name in ways}
    for _ in range(bench.rounds(7, 2)):
        for name, way in ways.items():
            bench.tell(f"latency, {name}, {count} connections")
            with beside(_chatter, way, count - 1) if count > 1 else nullcontext():
                taken[name].append(_echoes(way, tries))
    together = f"{count} connection{'s' * (count > 1)}"
    for word, figure in (("median", statistics.median), ("p99", _p99)):
        bench.add(f"64 B, {together}: direct, {word}", "µs", [figure(some) for some in taken["direct"]])
        for name in ("relay", "socat"):
            both = zip(taken[name], taken["direct"], strict=True)
            bench.add(f"  {name}: added, {word}", "µs", [figure(some) - figure(none) for some, none in both])


def _p99(samples: list[float]) -> float:
    return statistics.quantiles(samples, n=100)[98]


def _echoes(way: Way, tries: int) -> list[float]:
    samples = []
    with way.open(peer.ECHO) as wire:
        for number in range(tries + 10):
            began = time.perf_counter()
            wire.sendall(_MESSAGE)
            wire.recv(len(_MESSAGE), socket.MSG_WAITALL)
            if number >= 10:  # the connection's own beginning
                samples.append(1e6 * (time.perf_counter() - began))
    return samples


def _chatter(way: Way, count: int) -> None:
    wires = [way.open(peer.ECHO) for _ in range(count)]
    while True:
        for wire in wires:
            wire.sendall(_MESSAGE)
            time.sleep(_PACE_SECONDS / count)
        for wire in wires:
            wire.recv(len(_MESSAGE), socket.MSG_WAITALL)


def _cpu(way: Way) -> dict[int, float]:
    """CPU seconds of each process of the relay."""
    return {pid: seconds_of(pid) for pid in descendants(way.pid)} if way.pid else {}


@contextmanager
def _server() -> Iterator[int]:
    call = [sys.executable, "-m", "tests.bench.peer", "tcp"]
    with subprocess.Popen(call, cwd=REPO, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        try:
            yield int(server.stdout.readline())
        finally:
            server.kill()


@contextmanager
def _relay(server: int) -> Iterator[Way]:
    """The SIF's relay, with a door to the server."""
    call = ["apptainer", "exec", "--cleanenv", "--bind", str(REPO), "--pwd", str(REPO), *tree()]
    call += ["--env", "PYTHONDONTWRITEBYTECODE=1", str(SIF), "python3", "-m", "tests.bench.way_out", str(server)]
    with subprocess.Popen(call, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as stand:
        assert stand.stdin
        assert stand.stdout
        try:
            found = json.loads(stand.stdout.readline())
            yield Way("relay", found["port"], found["pid"])
        finally:
            stand.stdin.close()


@contextmanager
def _socat(server: int) -> Iterator[Way]:
    port = free_port()
    ends = [f"TCP-LISTEN:{port},bind={HOME},reuseaddr,fork,nodelay", f"TCP:{HOME}:{server},nodelay"]
    # In a session of its own, as the relay is: the kernel shares the CPU out by sessions (sched(7), autogroup).
    with subprocess.Popen(["socat", *ends], stderr=subprocess.DEVNULL, start_new_session=True) as process:
        try:
            until(lambda: socket.create_connection((HOME, port))).close()
            yield Way("socat", port, process.pid)
        finally:
            process.terminate()
