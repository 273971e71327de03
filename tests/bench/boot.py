"""Cold boot of the demo guest to ready: our machine against the devices that BYU's 7lbd chooses.

The same disk file, the same accelerator; BYU's has it on AHCI and uses QEMU's user-mode network.
"""

from __future__ import annotations

from pathlib import Path

from tests.session.harness import DEMO

from .images import demo_on
from .measure import Bench
from .sessions import scratch, started


def run(bench: Bench) -> None:
    """Both machines in turns."""
    with scratch() as folder:
        ahci = demo_on(folder / "ahci", "ahci")
        variants = {
            "ours": lambda: _boot(DEMO, "--no-warm"),
            "AHCI, user-mode network": lambda: _boot(ahci, "--network", "user"),
        }
        taken = bench.in_turns(variants, bench.rounds(3))
    for name, seconds in taken.items():
        bench.add(f"exec to ready, {name}", "s", seconds)
    ours, theirs = taken.values()
    bench.compare("BYU's devices against ours", theirs, ours, "more is better")


def _boot(image: Path, *arguments: str) -> float:
    with started(image, *arguments) as timed:
        return timed.phase("ready")
