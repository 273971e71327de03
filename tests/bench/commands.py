"""Commands as jobs: one against its start and by its steps, many in two machines and one by one, and their output.

All of them go on from the warm state of the demo guest.
"""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

from tests.session import harness
from tests.session.harness import DEMO

from .measure import Bench
from .sessions import scratch, started, tree

_MOST = 1.3  # of a warm start to ready, from the exec of `apptainer` to its end
_PATIENCE = 3600.0
# What `--json` says on the way, and what that is the end of.
_STEPS = {
    "preparing": "to the first word",
    "booting": "to QEMU running",
    "guest-up": "to the guest's agent",
    "ready": "to ready",
    "ended": "to the command's end",
    "finished": "to the machine's end",
}
_MIB = 1 << 20


def run(bench: Bench) -> None:
    """One, many, and how fast they print."""
    with scratch() as folder:
        nothing = _one(bench, folder)
        _many(bench, folder)
        size = bench.amount(256, 16)
        printed = _exec(folder, "--", "head", "-c", str(size * _MIB), "/dev/zero")
        note = f"{size} MiB of standard output, without the start"
        bench.add("standard output", "MiB/s", [size / max(printed - nothing, 0.1)], note=note)


def _one(bench: Bench, folder: Path) -> float:
    """Returns what a command takes that does nothing."""
    steps: list[dict[str, float]] = []

    def true() -> float:
        taken, reached = _told(folder, "--", "true")
        steps.append(reached)
        return taken

    taken = bench.in_turns({"ready": _ready, "true": true}, bench.rounds(7, 2))
    bench.add("a warm start to ready", "s", taken["ready"])
    bench.add("exec -- true, from its start to its end", "s", taken["true"])
    for name, title in _STEPS.items():
        bench.add(f"  of it {title}", "s", [reached[name] for reached in steps])
    ratios = [command / start for command, start in zip(taken["true"], taken["ready"], strict=True)]
    bench.add("exec -- true against a warm start", "times", ratios, limit=_MOST)
    return taken["true"][-1]


def _many(bench: Bench, folder: Path) -> None:
    count = bench.amount(50, 4)
    (folder / "list").write_text("true\n" * count)
    several = {
        "in two machines": lambda: _exec(folder, "--parallel", "2", "--list", "list"),
        "one by one": lambda: sum(_exec(folder, "--", "true") for _ in range(count)),
    }
    many = bench.in_turns(several, 1)
    bench.add(f"{count} commands by --parallel 2", "s", many["in two machines"])
    bench.add(f"{count} commands, each in a machine of its own, one by one", "s", many["one by one"])
    bench.compare("one by one against two machines", many["one by one"], many["in two machines"])


def _ready() -> float:
    with started(DEMO, "--warm") as timed:
        return timed.phase("ready")


def _call(*words: str) -> list[str]:
    return harness.command("exec", "--image", str(DEMO), "--no-stdin", *words, options=tree())


def _told(folder: Path, *words: str) -> tuple[float, dict[str, float]]:
    """How long a command takes, and when it said what: by its steps."""
    reached: dict[str, float] = {}
    began = time.monotonic()
    with subprocess.Popen(_call("--json", *words), cwd=folder, stdout=subprocess.PIPE) as running:
        assert running.stdout
        for line in running.stdout:
            said = json.loads(line)
            name = said["phase"] if said["event"] == "phase" else said["event"]
            reached.setdefault(name, time.monotonic() - began)
        assert running.wait(_PATIENCE) == 0
    return time.monotonic() - began, reached


def _exec(folder: Path, *words: str) -> float:
    call = _call(*words)
    began = time.monotonic()
    done = subprocess.run(
        call, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=_PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return time.monotonic() - began
