"""Plays rounds beside each other: in processes of their own, so that what one leaves is told from what others do."""

from __future__ import annotations

import multiprocessing
import shutil
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path

import harness

from . import draws, rounds
from .world import World

BUILT = harness.REPO / "build" / "faults"
LEAST_SHARE = 0.5
"""A guess: of the clients so many at least get a file acknowledged, or the run shows nothing of bytes."""
_ENOUGH = 5  # clients; of fewer a share says nothing
_world: World | None = None

Row = dict[str, object]


def rows(folder: Path, seeds: Iterator[int], beside: int) -> Iterator[Row]:
    """What became of each round, as they end. Each process is a subreaper of its own, which fork would not make it."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(beside, context, initializer=_settle, initargs=(folder,)) as pool:
        waiting: list[Future[Row]] = []
        try:
            for seed in seeds:
                waiting.append(pool.submit(play, seed))
                if len(waiting) > beside:  # one more than play, so that nobody waits for us
                    yield waiting.pop(0).result()
            while waiting:
                yield waiting.pop(0).result()
        finally:
            for one in waiting:
                one.cancel()


def _settle(folder: Path) -> None:
    global _world  # noqa: PLW0603  # what an executor's processes share between tasks
    own = folder / f"p{multiprocessing.current_process().pid}"
    own.mkdir(mode=0o700)
    _world = World(own)


def play(seed: int) -> Row:
    """A round, and what became of it."""
    assert _world
    drawn = draws.of(seed)
    played = rounds.Played(_world, drawn)
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


def summary(played: list[Row], seconds: float) -> tuple[str, bool]:
    """What is said of a run, and whether it was one in which nothing failed and enough was done."""
    deeds = [deed for row in played for deed in _list(row, "deeds")]
    met = [deed for deed in deeds if not deed["missed"]]
    phases = sorted({str(deed["phase"]) for deed in met})
    silent = sum(int(str(row.get("silent", 0))) for row in played)
    clients = silent + sum(int(str(row.get("heard", 0))) for row in played)
    acknowledged = sum(int(str(row.get("acknowledged", 0))) for row in played)
    failed = sum(bool(row["failed"]) for row in played)
    is_idle = clients >= _ENOUGH and clients - silent < LEAST_SHARE * clients
    lines = [
        f"{len(played)} rounds, {failed} failed, {seconds / max(1, len(played)):.1f} s a round",
        f"{len(met)} of {len(deeds)} faults met somebody, in {', '.join(phases) or 'no phase'}",
        f"{acknowledged} files acknowledged, {silent} of {clients} clients got none",
    ]
    if is_idle:
        lines.append(f"FAILED: at least {LEAST_SHARE:.0%} of the clients must get a file acknowledged")
    return "\n".join(lines), not failed and not is_idle


def _list(row: Row, name: str) -> list[dict[str, object]]:
    found = row.get(name, [])
    assert isinstance(found, list)
    return found
