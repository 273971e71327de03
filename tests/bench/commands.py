"""Commands as jobs: one against the start that it needs, many in two machines and one by one, and their output.

All of them go on from the warm state of the demo guest.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from tests.session import harness
from tests.session.harness import DEMO

from .measure import Bench
from .sessions import scratch, started, tree

_MOST = 1.3  # of a warm start to ready, from the exec of `apptainer` to its end
_PATIENCE = 3600.0
_MIB = 1 << 20


def run(bench: Bench) -> None:
    """One, many, and how fast they print."""
    with scratch() as folder:
        variants = {"ready": _ready, "true": lambda: _exec(folder, "--", "true")}
        taken = bench.in_turns(variants, bench.rounds(7, 2))
        bench.add("a warm start to ready", "s", taken["ready"])
        bench.add("exec -- true, from its start to its end", "s", taken["true"])
        ratios = [command / start for command, start in zip(taken["true"], taken["ready"], strict=True)]
        bench.add("exec -- true against a warm start", "times", ratios, limit=_MOST)
        count = bench.rounds(50, 4)
        (folder / "list").write_text("true\n" * count)
        several = {
            "in two machines": lambda: _exec(folder, "--parallel", "2", "--list", "list"),
            "one by one": lambda: sum(_exec(folder, "--", "true") for _ in range(count)),
        }
        many = bench.in_turns(several, 1)
        bench.add(f"{count} commands by --parallel 2", "s", many["in two machines"])
        bench.add(f"{count} commands, each in a machine of its own, one by one", "s", many["one by one"])
        bench.compare("one by one against two machines", many["one by one"], many["in two machines"])
        size = bench.rounds(256, 16)
        nothing = taken["true"][-1]
        printed = _exec(folder, "--", "head", "-c", str(size * _MIB), "/dev/zero")
        note = f"{size} MiB of standard output, without the start"
        bench.add("standard output", "MiB/s", [size / max(printed - nothing, 0.1)], note=note)


def _ready() -> float:
    with started(DEMO, "--warm") as timed:
        return timed.phase("ready")


def _exec(folder: Path, *words: str) -> float:
    call = harness.command("exec", "--image", str(DEMO), "--no-stdin", *words, options=tree())
    began = time.monotonic()
    done = subprocess.run(
        call, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=_PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return time.monotonic() - began
