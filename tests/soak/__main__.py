"""python -m tests.soak [--hours H]: a piece of a soak, appended to the report. --sum adds the pieces up.

With --visitors N it is one gateway alone, and as many visitors in minutes: hours of them, told by the same test.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "session"))

import harness

from . import sampling, slope, visits

_BUILT = harness.REPO / "build" / "soak"
LEAST = {"memory": 1.0, "descriptors": 1.0, "processes": 0.5, "files": 1.0, "bytes": 65536.0}
"""An hour's growth that is let pass, by the last word of a name: MiB, numbers, bytes; a day of it does no harm."""
_GROWS = "GROWS"
_PAUSE = 5.0  # seconds between two rounds, so that a soak can go on beside other work


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--hours", type=float, default=8.0)
    parser.add_argument("--seed", type=int, default=0, help="of what is copied; 0: a new one, which is printed")
    parser.add_argument("--visitors", type=int, default=0, help="one gateway alone, and so many visitors in minutes")
    parser.add_argument("--https", action="store_true", help="with --visitors: they come by TLS")
    parser.add_argument("--sum", action="store_true", help="print what the report has, and run nothing")
    parser.add_argument("--report", type=Path)
    return parser.parse_args()


def _soak(options: argparse.Namespace, folder: Path, seed: int) -> None:
    """One session that lasts, and rounds of all that goes on beside it; a line for each."""
    image, base, share = (folder / name for name in ("image", "b", "data"))
    for place in (image, base, share):
        place.mkdir(mode=0o700)
    harness.tool("qemu-img", "create", "-q", "-f", "qcow2", str(image / "disk.qcow2"), "64M")
    (image / "image.toml").write_text('os = "linux"\nfirmware = "bios"\nmemory = "128M"\ncpus = 1\nname = "blank"\n')
    words = ("--image", str(image), "--name", "lasting", "--no-home-share", "--share", f"data={share}", "--console")
    session = harness.start(*words, "--ready-timeout", "48h", base=base)
    drawn, began = random.Random(seed), time.monotonic()
    try:
        session.wait_phase("booting", 60)
        while (hours := (time.monotonic() - began) / 3600) < options.hours:
            visits.watch(session)
            visits.copy(session, folder, drawn)
            visits.come_and_go(image, base, "passing")
            row = {"piece": seed, "date": time.strftime("%Y-%m-%d"), "hours": round(hours, 5)}
            with options.report.open("a") as report:
                report.write(json.dumps(row | sampling.sample(session, [base, share])) + "\n")
            time.sleep(_PAUSE)
    except AssertionError:
        print(session.story())
        raise
    finally:
        session.kill()


def _crowded(visitors: int, seed: int, https: bool, log: Path) -> Iterator[dict[str, float | str]]:
    """A row for each part of the visitors; their hours are those of as many in a soak."""
    repo = str(harness.REPO)
    tree = ":".join(str(harness.REPO / place) for place in ("", "tests/unit", "build/dev-site"))
    call = ["apptainer", "exec", "--cleanenv", "--writable-tmpfs", "--bind", repo, "--pwd", repo]
    call += ["--env", f"PYTHONDONTWRITEBYTECODE=1,PYTHONPATH={tree}", str(harness.SIF)]
    call += ["python3", "-m", "tests.soak.gateway_alone", str(visitors), str(seed), *(["https"] if https else [])]
    with log.open("w") as said, subprocess.Popen(call, stdout=subprocess.PIPE, stderr=said, text=True) as crowd:
        assert crowd.stdout
        for line in crowd.stdout:
            row = json.loads(line)
            found = {f"gateway {name}": row[name] for name in ("memory", "heap memory", "descriptors")}
            yield {"piece": seed, "date": row["date"], "hours": row["visitors"] / slope.VISITORS_AN_HOUR} | found
    assert crowd.returncode == 0, f"the crowd came to no good end: {log}"


def _piece(options: argparse.Namespace, seed: int) -> None:
    """A soak's, or a crowd's, to the report."""
    if options.visitors:
        with options.report.open("a") as report:
            log = options.report.with_suffix(".log")
            for row in _crowded(options.visitors, seed, options.https, log):
                report.write(json.dumps(row) + "\n")
                report.flush()
        return
    folder = Path(tempfile.mkdtemp(prefix="7s-"))
    try:
        _soak(options, folder, seed)
    finally:
        harness.remove(folder)


def summed(rows: list[dict[str, float]]) -> tuple[str, bool]:
    """A table of trends, the worst of any piece (each has a session of its own), and whether one of a piece grows."""
    lines = ["| what | median | an hour | probability | |", "|---|---|---|---|---|"]
    pieces = sorted({row["piece"] for row in rows})
    hours = sum(max(row["hours"] for row in rows if row["piece"] == piece) for piece in pieces)
    growing = False
    for name in [name for name in rows[0] if name not in ("piece", "date", "hours")]:
        trends = [slope.of([(row["hours"], row[name]) for row in rows if row["piece"] == piece]) for piece in pieces]
        worst, verdict = _judged(trends, LEAST[name.rpartition(" ")[2]])
        growing |= verdict == _GROWS
        lines.append(f"| {name} | {worst.level:.1f} | {worst.per_hour:+.2f} | {worst.probability:.3f} | {verdict} |")
    lines.append(f"\n{hours:.2f} hours in {len(pieces)} pieces, {len(rows)} rounds")
    return "\n".join(lines), growing


def _judged(trends: list[slope.Trend], least: float) -> tuple[slope.Trend, str]:
    """The worst of those that may be judged, and what it says. A short piece, steep as it may be, hides no long one."""
    judged = [trend for trend in trends if trend.may_be_judged]
    growing = [trend for trend in judged if trend.grows(least)]
    worst = max(growing or judged or trends, key=lambda trend: trend.per_hour * (trend.probability < slope.LEVEL))
    return worst, _GROWS if growing else "flat" if judged else "too short"


def main() -> int:
    """Soak; 1 when something grows."""
    options = _parsed()
    options.report = options.report or _BUILT / ("crowd.jsonl" if options.visitors else "report.jsonl")
    if not options.sum:
        assert os.getuid() != 0, "as an ordinary user: make soak"
        os.environ["SEVENLBD_STATE_DIR"] = "off"
        seed = options.seed or random.SystemRandom().randrange(1, 1 << 31)
        print(f"seed {seed}", flush=True)
        options.report.parent.mkdir(parents=True, exist_ok=True)
        _piece(options, seed)
    rows = [json.loads(line) for line in options.report.read_text().splitlines()]
    table, growing = summed(rows)
    print(table)
    return int(growing)


if __name__ == "__main__":
    raise SystemExit(main())
