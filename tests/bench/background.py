"""What an owner's program that uses all CPUs loses to a guest that does its worst: in the background, and as usual."""

from __future__ import annotations

import time

from tests.session import owners_work

from .measure import Bench
from .sessions import scratch, started

_PROMISED = 10.0  # per cent; by weight alone (15 against 1024) it is one and a half
_IN_FULL_SWING_SECONDS = 5.0  # after the firmware


def run(bench: Bench) -> None:
    """Round by round: alone, beside it, alone."""
    with scratch() as folder:
        image = owners_work.hostile_image(folder / "hostile")
        for title, options in (("in the background", ["--background"]), ("as usual", [])):
            with started(image, *options) as timed:
                timed.phase("booting")
                time.sleep(_IN_FULL_SWING_SECONDS)
                bench.tell(f"{title}: alone, beside it, alone ...")
                qemu, rounds = timed.session.pid_of("qemu-system-x86_64"), bench.rounds(15, 5)
                lost, taken = owners_work.losses(qemu, rounds), owners_work.taken(qemu, rounds)
            limit = _PROMISED if options else None
            share = f"of the CPU time of both, that of a guest {title}"
            bench.add(share, "%", [100 * part for part in taken], limit=limit, note="a busy machine blurs it less")
            bench.add(f"lost beside a session {title}", "%", [100 * share for share in lost], limit=limit)
