"""A desktop saved while it runs: for how long a busy guest stands still, and how much slower it is meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.session.harness import Console, Session

from .measure import Bench

# Counts what it has done; each step writes to four mebibytes of its memory.
_BUSY = "n=0; while :; do n=$((n+1)); cp /dev/shm/from /dev/shm/to; echo $n > /dev/shm/n; done"
_SECONDS = 5.0  # undisturbed, before each


def measured(session: Session, save: Callable[[], float], bench: Bench) -> tuple[list[float], list[float]]:
    """Seconds that it stood still, and by how much it was slower, each time that it was saved."""
    shell = Console(session)
    shell.run("head -c 4M /dev/urandom > /dev/shm/from; echo 0 > /dev/shm/n")
    shell.run(f"(setsid sh -c '{_BUSY}' </dev/null >/dev/null 2>&1 &)")
    slower = []
    for number in range(bench.rounds(3)):
        bench.tell(f"live, {number + 1} of {bench.rounds(3)}")
        before = _rate(shell, lambda: time.sleep(_SECONDS))
        slower.append(before / max(_rate(shell, save), 0.001))
    shell.close()
    notes = [event["text"] for event in session.events if event["event"] == "note"]
    return [float(text.split()[-2]) for text in notes if "stood still for" in text], slower


def _rate(shell: Console, meanwhile: Callable[[], object]) -> float:
    """Steps a second while something is done."""
    first, began = int(shell.run("cat /dev/shm/n")), time.monotonic()
    meanwhile()
    last, ended = int(shell.run("cat /dev/shm/n")), time.monotonic()
    return (last - first) / (ended - began)
