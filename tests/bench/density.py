"""Many sessions of one image on one node: what each further one costs in memory, warm against cold.

Idle sessions of the demo guest, ready for some time. PSS: private pages and a fair part of shared ones; private dirty:
what nobody else could share, and the kernel could not drop (proc(5), smaps_rollup). QEMU's own, since the rest of a
session does not know how its guest began.
"""

from __future__ import annotations

import re
import time
from contextlib import ExitStack
from pathlib import Path

from tests.session.harness import DEMO

from .measure import Bench
from .sessions import Timed, started

COUNTS = (1, 2, 4, 8)
LIMIT = 0.35
_SETTLE_SECONDS = 20.0
_MB = 1e6


def run(bench: Bench) -> None:
    """All warm ones, then all cold ones: both sides at the same counts."""
    counts = COUNTS[: bench.rounds(len(COUNTS), 2)]
    warm = _measured(bench, "warm", counts)
    cold = _measured(bench, "cold", counts, "--no-warm")
    ratio = [a[1] / b[1] for a, b in zip(warm, cold, strict=True)]
    bench.add("private memory of a further session, warm against cold", "times", ratio, limit=LIMIT)


def _measured(bench: Bench, name: str, counts: tuple[int, ...], *arguments: str) -> list[tuple[float, float]]:
    """PSS and private dirty memory in megabytes of a session more, for each count."""
    found: list[tuple[float, float]] = []
    with ExitStack() as running:
        sessions: list[Timed] = []
        for count in counts:
            before = _total(sessions)
            fresh = [running.enter_context(started(DEMO, *arguments)) for _ in range(count - len(sessions))]
            for timed in fresh:
                timed.phase("ready", 1800)
            sessions += fresh
            bench.tell(f"{name}: {count} ready, letting them rest")
            time.sleep(_SETTLE_SECONDS)
            after = _total(sessions)
            each = tuple((b - a) / len(fresh) for a, b in zip(before, after, strict=True))
            found.append((each[0], each[1]))
            bench.add(f"{name}, {count} sessions: PSS of each further one", "MB", [each[0]])
            bench.add(f"{name}, {count} sessions: private dirty of each further one", "MB", [each[1]])
    return found


def _total(sessions: list[Timed]) -> tuple[float, float]:
    texts = [Path(f"/proc/{timed.session.pid_of('qemu-system-x86_64')}/smaps_rollup").read_text() for timed in sessions]
    return _sum(texts, "Pss"), _sum(texts, "Private_Dirty")


def _sum(texts: list[str], field: str) -> float:
    """Megabytes of one field in all of the texts."""
    kilobytes = [re.search(rf"^{field}:\s+(\d+) kB", text, re.MULTILINE) for text in texts]
    return sum(int(found[1]) * 1024 for found in kilobytes if found) / _MB
