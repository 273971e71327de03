"""Plays rounds beside each other: in processes of their own, so that what one leaves is told from what others do."""

from __future__ import annotations

import multiprocessing
import shutil
import time
import traceback
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, as_completed, wait
from pathlib import Path

import harness

from . import draws, rounds
from .summing import Row
from .world import World

BUILT = harness.REPO / "build" / "faults"


def rows(world: World, seeds: Iterable[int], beside: int) -> Iterator[Row]:
    """What became of each round, as they end. Each process is a subreaper of its own, which fork would not make it."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(beside, context) as pool:
        waiting: set[Future[Row]] = set()
        try:
            for seed in seeds:
                waiting.add(pool.submit(play, world, seed))
                while len(waiting) > beside:  # one more than play, so that nobody waits for us
                    done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    yield from (one.result() for one in done)
            yield from (one.result() for one in as_completed(waiting))
        finally:
            for one in waiting:
                one.cancel()


def play(world: World, seed: int) -> Row:
    """A round, and what became of it."""
    drawn = draws.of(seed)
    played = rounds.Played(world, drawn)
    began = time.monotonic()
    row: Row = {"seed": seed, "date": time.strftime("%Y-%m-%d"), "failed": ""}
    try:
        played.play()
    except Exception:
        row["failed"] = traceback.format_exc()[-4000:]
        _keep(played.place, seed, f"{drawn}\n\n{played.told()}\n\n{row['failed']}")
    finally:
        played.close()
    return row | played.told() | {"seconds": round(time.monotonic() - began, 2)}


def _keep(place: Path, seed: int, why: str) -> None:
    kept = BUILT / f"failed-{seed}"
    shutil.rmtree(kept, ignore_errors=True)
    ignored = shutil.ignore_patterns("*.sock", "*.qcow2", "*.sif", "*.7lbd", "credentials.json", "lock", "src")
    shutil.copytree(place, kept, ignore=ignored, ignore_dangling_symlinks=True)
    (kept / "round.txt").write_text(why)
