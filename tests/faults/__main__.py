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

from . import draws, playing


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the first round; 0: a new one, which is printed")
    parser.add_argument("--beside", type=int, default=2, help="rounds that are played beside each other")
    parser.add_argument("--keep-going", action="store_true", help="play on after a round that failed")
    parser.add_argument("--report", type=Path, default=playing.BUILT / "report.jsonl")
    return parser.parse_args()


def _tell_failure(row: playing.Row) -> None:
    seed = row["seed"]
    drawn = draws.of(int(str(seed)))
    print(f"{row['failed']}\nround {seed} FAILED: {drawn}\nlogs: {playing.BUILT / f'failed-{seed}'}")
    print(f'again: make faults ARGS="--rounds 1 --seed {seed}"', flush=True)


def main() -> int:
    """Play the rounds; 1 when one of them failed, or too little was done in them."""
    options = _parsed()
    assert os.getuid() != 0, "as an ordinary user: make faults"
    seed = options.seed or random.SystemRandom().randrange(1, 1 << 31)
    print(f"seed {seed}", flush=True)
    options.report.parent.mkdir(parents=True, exist_ok=True)
    played: list[playing.Row] = []
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="7f-"))
    try:
        for row in playing.rows(folder, iter(range(seed, seed + options.rounds)), options.beside):
            played.append(row)
            with options.report.open("a") as report:
                report.write(json.dumps(row) + "\n")
            if row["failed"]:
                _tell_failure(row)
                if not options.keep_going:
                    break
    finally:
        harness.remove(folder)
    said, is_good = playing.summary(played, time.monotonic() - began)
    print(said)
    return int(not is_good)


if __name__ == "__main__":
    raise SystemExit(main())
