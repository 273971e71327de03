"""python -m tests.faults [--rounds N] [--seed S]: rounds of faults. Round number n of a run has the seed S + n."""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "session"))

import harness

from . import draws, rounds

_BUILT = harness.REPO / "build" / "faults"


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the first round; 0: a new one, which is printed")
    parser.add_argument("--keep-going", action="store_true", help="play on after a round that failed")
    parser.add_argument("--report", type=Path, default=_BUILT / "report.jsonl")
    return parser.parse_args()


def _play(world: rounds.World, seed: int) -> dict[str, object]:
    """A round, and what became of it."""
    drawn = draws.of(seed)
    played = rounds.Played(world, drawn)
    began = time.monotonic()
    row: dict[str, object] = {"seed": seed, "date": time.strftime("%Y-%m-%d"), "failed": ""}
    try:
        row["acknowledged"] = played.play()
    except Exception:
        row["failed"] = traceback.format_exc()[-4000:]
        _keep(played.place, seed, drawn, str(row["failed"]))
    finally:
        played.close()
    return row | {"seconds": round(time.monotonic() - began, 2)}


def _keep(place: Path, seed: int, drawn: draws.Round, why: str) -> None:
    kept = _BUILT / f"failed-{seed}"
    shutil.rmtree(kept, ignore_errors=True)
    ignored = shutil.ignore_patterns("*.sock", "*.qcow2", "*.sif", "credentials.json", "lock", "src")
    shutil.copytree(place, kept, ignore=ignored, ignore_dangling_symlinks=True)
    (kept / "round.txt").write_text(f"{drawn}\n\n{why}")
    print(f'{why}\nround {seed} FAILED: {drawn}\nlogs: {kept}\nagain: make faults ARGS="--rounds 1 --seed {seed}"')


def main() -> int:
    """Play the rounds; 1 when one of them failed."""
    options = _parsed()
    assert os.getuid() != 0, "as an ordinary user: make faults"
    seed = options.seed or random.SystemRandom().randrange(1, 1 << 31)
    print(f"seed {seed}", flush=True)
    options.report.parent.mkdir(parents=True, exist_ok=True)
    failed, acknowledged, began = 0, 0, time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="7f-"))
    try:
        world = rounds.World(folder)
        for number in range(options.rounds):
            row = _play(world, seed + number)
            failed += bool(row["failed"])
            acknowledged += int(str(row.get("acknowledged", 0)))
            with options.report.open("a") as report:
                report.write(json.dumps(row) + "\n")
            if failed and not options.keep_going:
                break
    finally:
        harness.remove(folder)
    seconds = (time.monotonic() - began) / max(1, number + 1)
    print(f"{number + 1} rounds, {failed} failed, {acknowledged} files acknowledged, {seconds:.1f} s a round")
    return int(failed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
