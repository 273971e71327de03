"""From the exec of `apptainer run` to a running machine.

The promise is about QEMU's first instruction. Two marks stand around it:
- QEMU's answer on QMP. QEMU starts its virtual CPUs before it answers, so the first instruction came earlier.
- The first byte on the serial port from a boot sector whose first act it is: a proof by the guest itself,
  the time of SeaBIOS included.
The demo guest adds what its machine needs: UEFI, 2 GiB of memory, a disk of 1 GB. Beside both, in the same turns, what
Apptainer alone takes to run nothing.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from tests.session import harness
from tests.session.harness import DEMO

from .images import boot_sector
from .measure import Bench
from .sessions import scratch, started

LIMIT = 0.45
_POLL = 0.001


def run(bench: Bench) -> None:
    """Measure both machines in turns."""
    with scratch() as folder:
        tiny = boot_sector(folder / "boot-sector")
        variants = {
            "nothing": _apptainer,
            "boot sector": lambda: _start(tiny, proof=True),
            "demo guest": lambda: _start(DEMO, proof=False),
        }
        taken = bench.in_turns(variants, bench.rounds(9, 3))
    floor = [mark[0] for mark in taken.pop("nothing")]
    bench.add("Apptainer alone: exec to the end of /usr/bin/true", "s", floor)
    for name, marks in taken.items():
        bench.add(f"{name}: exec to the runtime's first word", "s", [mark[0] for mark in marks])
        bench.add(f"{name}: exec to QEMU running", "s", [mark[1] for mark in marks], limit=LIMIT)
    proofs = [mark[2] for mark in taken["boot sector"]]
    bench.add("boot sector: exec to its own first byte", "s", proofs, note="with SeaBIOS")


def _apptainer() -> tuple[float, float, float]:
    began = time.monotonic()
    subprocess.run(["apptainer", "exec", str(harness.SIF), "/usr/bin/true"], check=True)
    return time.monotonic() - began, 0.0, 0.0


def _start(image: Path, *, proof: bool) -> tuple[float, float, float]:
    """Seconds to the supervisor's first state, to QEMU's answer, and to the guest's byte if it is one that tells."""
    with started(image, "--no-warm") as timed:
        first, running = timed.phase("preparing"), timed.phase("booting")
        log = timed.session.folder / "logs" / "serial.log"
        while proof and not (log.exists() and log.stat().st_size):
            assert time.time() < timed.began + 60, timed.session.story()
            time.sleep(_POLL)
        return first, running, time.time() - timed.began
