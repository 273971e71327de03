"""python -m tests.bench [NAME...]: measures, prints a table, writes build/bench.json."""

from __future__ import annotations

import argparse
import json
import os
import sys
import traceback
from collections.abc import Callable, Mapping

from . import (
    background,
    boot,
    commands,
    coordinator,
    density,
    egress,
    encrypt,
    evict,
    facts,
    intake,
    job,
    latency,
    make_run,
    memory,
    page,
    pool,
    publishing,
    relay,
    share,
    size,
    start,
    suspend,
    viewers,
    warm,
    worker,
)
from .measure import Bench, Figure, table
from .sessions import BUILD

BENCHES: dict[str, Callable[[Bench], None]] = {
    "size": size.run,
    "start": start.run,
    "make-run": make_run.run,
    "memory": memory.run,
    "share": share.run,
    "boot": boot.run,
    "warm": warm.run,
    "commands": commands.run,
    "suspend": suspend.run,
    "encrypt": encrypt.run,
    "evict": evict.run,
    "job": job.run,
    "density": density.run,
    "background": background.run,
    "relay": relay.run,
    "latency": latency.run,
    "egress": egress.run,
    "viewers": viewers.run,
    "page": page.run,
    "intake": intake.run,
    "publishing": publishing.run,
    "pool": pool.run,
    "coordinator": coordinator.run,
    "worker": worker.run,
}
RESULT = BUILD / "bench.json"


def main() -> int:
    """Run the benches that were named, or all."""
    options = _parse()
    assert os.getuid() != 0, "measured as an ordinary user: make bench"
    about = facts.collect()
    chosen = {name: BENCHES[name] for name in options.names or BENCHES}
    if options.from_nothing:
        chosen["from-nothing"] = make_run.from_nothing
    results, failed = measured(chosen, quick=options.quick, rounds=options.rounds)
    print(facts.summary(about), table(results), sep="\n\n")
    records = {name: [figure.record() for figure in figures] for name, figures in results.items()}
    told = {**about, "quick": options.quick, "rounds": options.rounds, "failed": failed, "figures": records}
    RESULT.write_text(json.dumps(told, indent=1) + "\n")
    print(f"\nas JSON: {RESULT}")
    if failed:
        print(f"7lbd: error: bench: failed, with what they measured before: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def measured(
    benches: Mapping[str, Callable[[Bench], None]], *, quick: bool, rounds: int = 0
) -> tuple[dict[str, list[Figure]], list[str]]:
    """What each found, and who failed: half an hour of the others' figures shall not go with it."""
    results, failed = {}, []
    for name, run in benches.items():
        bench = Bench(quick, _teller(name), so_often=rounds)
        try:
            run(bench)
        except Exception:
            traceback.print_exc()
            failed.append(name)
        results[name] = bench.figures
    return results, failed


def _teller(name: str) -> Callable[[str], None]:
    return lambda text: print(f"7lbd: bench {name}: {text}", file=sys.stderr)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench ARGS=...", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *BENCHES], metavar="NAME", help=", ".join(BENCHES))
    parser.add_argument("--quick", action="store_true", help="fewer rounds: for a look, not for a claim")
    parser.add_argument("--rounds", type=int, default=0, metavar="N", help="so many, whatever the bench's own number")
    parser.add_argument("--from-nothing", action="store_true", help="also `make run` in a fresh clone: takes minutes")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
