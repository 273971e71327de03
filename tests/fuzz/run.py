"""All targets in turn, each in a process of its own; what was run is appended to a report, and pieces are added up."""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from .all_targets import TARGETS

_REPO = Path(__file__).parents[2]
_BUILT = _REPO / "build" / "fuzz"
REPORT = _BUILT / "report.jsonl"
KEPT = Path(__file__).parent / "corpus"
_SECONDS_OF_ONE = 10  # an input that takes longer is a finding; the slowest good one takes some milliseconds
_MEMORY_MB = 1024  # the same of memory; the libraries alone have some hundred
_EXECUTED = re.compile(r"stat::number_of_executed_units: +(\d+)")


@dataclass(frozen=True)
class Piece:
    """What one process has run."""

    target: str
    date: str
    seed: int
    inputs: int
    seconds: float
    corpus: int
    """Inputs that each reach something new, by now."""
    found: tuple[str, ...]
    """Files with inputs that broke a promise."""


def fuzz(target: str, seed: int, seconds: float, runs: int) -> Piece:
    """Run one target for so long, or for so many inputs. Everything random is drawn from the seed."""
    corpus, found = _BUILT / "corpus" / target, _BUILT / "found"
    for folder in (corpus, found):
        folder.mkdir(parents=True, exist_ok=True)
    _sow(target, corpus)
    before = set(found.iterdir())
    limits = [f"-seed={seed}", f"-timeout={_SECONDS_OF_ONE}", f"-rss_limit_mb={_MEMORY_MB}", "-print_final_stats=1"]
    amount = [f"-runs={runs}"] if runs else [f"-max_total_time={max(1, round(seconds))}"]
    folders = [str(folder) for folder in (corpus, KEPT / target) if folder.is_dir()]
    began = time.monotonic()
    said = _libfuzzer(
        target, *folders, *limits, *amount, f"-artifact_prefix={found}/{target}-", f"-max_len={_longest(target)}"
    )
    executed = _EXECUTED.search(said.stderr)
    broken = tuple(sorted(str(path) for path in set(found.iterdir()) - before))
    if said.returncode and not broken or not executed and not broken:
        raise SystemExit(f"{target}: the fuzzer itself failed\n{said.stderr[-3000:]}")
    if broken:
        print(said.stderr[-3000:], file=sys.stderr)
    return Piece(
        target, time.strftime("%Y-%m-%d"), seed, int(executed[1]) if executed else 0,
        round(time.monotonic() - began, 1), len(list(corpus.iterdir())), broken,
    )  # fmt: skip


def _libfuzzer(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.fuzz.one", ",".join(TARGETS[name].watched), name, *arguments],
        capture_output=True, text=True, errors="replace", check=False,
    )  # fmt: skip


def _longest(target: str) -> int:
    return TARGETS[target].longest


def _sow(target: str, corpus: Path) -> None:
    for number, seed in enumerate(TARGETS[target].seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)


def pieces(report: Path) -> list[Piece]:
    """All that the report has."""
    rows = [json.loads(line) for line in report.read_text().splitlines()]
    return [Piece(**row | {"found": tuple(row["found"])}) for row in rows]


def table(done: Iterable[Piece]) -> str:
    """Pieces added up: a line a target, and all of them."""
    rows: dict[str, list[Piece]] = {}
    for piece in done:
        rows.setdefault(piece.target, []).append(piece)
    lines = ["| target | inputs | minutes | corpus | found | dates |", "|---|---|---|---|---|---|"]
    for name, some in sorted(rows.items()):
        lines.append(_line(name, some, max(piece.corpus for piece in some)))
    every = [piece for some in rows.values() for piece in some]
    lines.append(_line("all", every, sum(max(piece.corpus for piece in some) for some in rows.values())))
    return "\n".join(lines)


def _line(name: str, some: Sequence[Piece], corpus: int) -> str:
    dates = sorted({piece.date for piece in some})
    minutes = sum(piece.seconds for piece in some) / 60
    broken = sum(len(piece.found) for piece in some)
    inputs = sum(piece.inputs for piece in some)
    when = " to ".join(dict.fromkeys((dates[0], dates[-1])))
    return f"| {name} | {inputs:,} | {minutes:.1f} | {corpus} | {broken} | {when} |"


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="for all targets together")
    parser.add_argument("--inputs", type=int, default=0, help="so many for each target, instead of a time")
    parser.add_argument("--only", default="", help="names of targets, with commas between")
    parser.add_argument("--seed", type=int, default=0, help="0: a new one, which is printed")
    parser.add_argument("--replay", nargs=2, metavar=("TARGET", "FILE"), help="try one input again")
    parser.add_argument(
        "--minimize", action="store_true", help="write the smallest inputs that reach as much to tests/fuzz/corpus"
    )
    parser.add_argument("--sum", action="store_true", help="print what the report has, and run nothing")
    parser.add_argument("--report", type=Path, default=REPORT)
    return parser.parse_args(arguments)


def _chosen(only: str) -> list[str]:
    names = [name for name in only.split(",") if name] or list(TARGETS)
    if unknown := set(names) - set(TARGETS):
        raise SystemExit(f"no such target: {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    return names


_MOST_KEPT = 1024  # bytes of an input that the repository keeps, and how many of a target: a small corpus
_MOST_INPUTS = 24


def minimize(target: str) -> int:
    """The smallest inputs that reach all that the built corpus reaches; returns how many are kept."""
    merged, kept = _BUILT / "merged" / target, KEPT / target
    merged.mkdir(parents=True, exist_ok=True)
    _libfuzzer(target, "-merge=1", f"-max_len={_longest(target)}", str(merged), str(_BUILT / "corpus" / target))
    small = sorted(
        (path for path in merged.iterdir() if path.stat().st_size <= _MOST_KEPT), key=lambda path: path.stat().st_size
    )
    step = max(1, -(-len(small) // _MOST_INPUTS))
    kept.mkdir(parents=True, exist_ok=True)
    for path in small[::step]:
        (kept / path.name[:12]).write_bytes(path.read_bytes())
    return len(small[::step])


def main(arguments: Sequence[str]) -> int:
    """Usage: see --help."""
    options = _parsed(arguments)
    if options.sum:
        print(table(pieces(options.report)))
        return 0
    if options.replay:
        done = _libfuzzer(*options.replay)
        print(done.stderr)
        return done.returncode
    names = _chosen(options.only)
    if options.minimize:
        for name in names:
            print(f"{name}: {minimize(name)} inputs are kept")
        return 0
    return _run(names, options)


def _run(names: Sequence[str], options: argparse.Namespace) -> int:
    seed = options.seed or random.SystemRandom().randrange(1, 1 << 31)
    print(f"seed {seed}", flush=True)
    options.report.parent.mkdir(parents=True, exist_ok=True)
    done = []
    for name in names:
        piece = fuzz(name, seed, options.minutes * 60 / len(names), options.inputs)
        done.append(piece)
        with options.report.open("a") as report:
            report.write(json.dumps(asdict(piece)) + "\n")
        print(f"{name}: {piece.inputs:,} inputs in {piece.seconds:.0f} s, corpus {piece.corpus}", flush=True)
        for path in piece.found:
            print(f'{name}: BROKEN by {path}; again: make fuzz ARGS="--replay {name} {path}"', flush=True)
    print(table(done))
    return int(any(piece.found for piece in done))
