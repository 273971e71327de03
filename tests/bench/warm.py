"""Warm against cold: the same demo guest, started from its warm state and booted, in turns, to the ready desktop."""

from __future__ import annotations

from tests.session.harness import DEMO

from .measure import Bench
from .sessions import started

RUNNING, SPEED_UP = 1.0, 15.0


def run(bench: Bench) -> None:
    """From the exec of `apptainer` to QEMU running, and to ready."""
    variants = {"warm": lambda: _start("--warm"), "cold": lambda: _start("--no-warm")}
    taken = bench.in_turns(variants, bench.rounds(5, 2))
    running = [marks[0] for marks in taken["warm"]]
    bench.add("warm: exec to QEMU running", "s", running, limit=RUNNING)
    ready = {name: [marks[1] for marks in samples] for name, samples in taken.items()}
    for name, seconds in ready.items():
        bench.add(f"{name}: exec to ready", "s", seconds)
    bench.compare("cold against warm, to ready", ready["cold"], ready["warm"], least=SPEED_UP)


def _start(*arguments: str) -> tuple[float, float]:
    with started(DEMO, *arguments) as timed:
        return timed.phase("booting"), timed.phase("ready")
