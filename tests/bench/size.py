"""Size of the SIF."""

from __future__ import annotations

from tests.session.harness import SIF

from .measure import Bench

LIMIT = 220.0


def run(bench: Bench) -> None:
    """One look."""
    bench.add("SIF", "MB", [SIF.stat().st_size / 1e6], limit=LIMIT)
