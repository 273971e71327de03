"""python -m tests.faults [--rounds N] [--seed S]: rounds of faults. Round number n of a run has the seed S + n."""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "session"))

import harness

from . import draws, playing, summing
from .world import World


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the first round; 0: a new one, which is printed")
    parser.add_argument("--each", choices=draws.EACH, help="a round for each process in each phase, from the seed on")
    parser.add_argument("--beside", type=int, default=2, help="rounds that are played beside each other")
    parser.add_argument("--keep-going", action="store_true", help="play on after a round that failed")
    parser.add_argument("--sum", action="store_true", help="print what the report has, and play nothing")
    parser.add_argument("--report", type=Path, default=playing.BUILT / "report.jsonl")
    return parser.parse_args()


def _tell_failure(row: summing.Row) -> None:
    seed = row["seed"]
    drawn = draws.of(int(str(seed)))
    print(f"{row['failed']}\nround {seed} FAILED: {drawn}\nlogs: {playing.BUILT / f'failed-{seed}'}")
    print(f'again: make faults ARGS="--rounds 1 --seed {seed}"', flush=True)


def main() -> int:
    """Play rounds, or add up what was played; 1 when a round failed, or too little was done in them."""
    options = _parsed()
    said, is_good = _added(options.report) if options.sum else _played(options)
    print(said)
    return int(not is_good)


def _added(report: Path) -> tuple[str, bool]:
    rows: list[summing.Row] = [json.loads(line) for line in report.read_text().splitlines()]
    said, is_good = summing.summary(rows, sum(float(str(row["seconds"])) for row in rows))
    return f"{summing.table(rows)}\n\n{said}", is_good


def _played(options: argparse.Namespace) -> tuple[str, bool]:
    assert os.getuid() != 0, "as an ordinary user: make faults"
    seed = options.seed or random.SystemRandom().randrange(1, 1 << 31)
    print(f"seed {seed}", flush=True)
    options.report.parent.mkdir(parents=True, exist_ok=True)
    seeds = draws.each(options.each, seed) if options.each else range(seed, seed + options.rounds)
    played: list[summing.Row] = []
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="7f-"))
    try:
        world = World(folder, {draws.of(one).start for one in seeds})
        for row in playing.rows(world, seeds, options.beside):
            played.append(row)
            with options.report.open("a") as report:
                report.write(json.dumps(row) + "\n")
            if row["failed"]:
                _tell_failure(row)
                if not options.keep_going:
                    break
    finally:
        harness.remove(folder)
    return summing.summary(played, time.monotonic() - began)


if __name__ == "__main__":
    raise SystemExit(main())
