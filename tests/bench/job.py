"""What a Slurm job costs a desktop: from its start to ready, against `apptainer run` by hand, in turns, both warm.

A pool of the real Slurm on this machine, with nothing else in its queue. A job's script runs what the hand runs.
"""

from __future__ import annotations

import importlib
import json
import shlex
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.session import harness
from tests.session.harness import DEMO

from .measure import Bench
from .sessions import started, tree

_MOST_OVERHEAD = 1.0
"""Seconds that a job may add, from the start of its script to ready."""
_PATIENCE = 600.0


def run(bench: Bench) -> None:
    """From the exec of Apptainer, by hand; from the start of the script, and from sbatch, in a job."""
    folder = Path(tempfile.mkdtemp(prefix="7b-"))
    try:
        # The tests' modules call each other by their bare names, as pytest has them.
        sys.path.insert(0, str(Path(harness.__file__).parent))
        with importlib.import_module("pool").running(folder / "pool", cpus=2, memory_mb=8000) as slurm:
            variants = {"by hand": _by_hand, "in a job": lambda: _in_a_job(slurm, folder / "sessions")}
            taken = bench.in_turns(variants, bench.rounds(7, 2))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    by_hand, in_job = ([marks[0] for marks in taken[name]] for name in variants)
    bench.add("by hand: exec of apptainer to ready, warm", "s", by_hand)
    bench.add("in a job: start of its script to ready, warm", "s", in_job)
    added = [job - hand for job, hand in zip(in_job, by_hand, strict=True)]
    bench.add("what the job adds", "s", added, limit=_MOST_OVERHEAD)
    note = "sbatch's answer to the start of the script: Slurm's own"
    bench.add("before that, in an empty queue", "s", [marks[1] for marks in taken["in a job"]], note=note)


def _by_hand() -> tuple[float, float]:
    with started(DEMO, "--warm") as timed:
        return timed.phase("ready"), 0.0


def _in_a_job(slurm: Any, base: Path) -> tuple[float, float]:
    """Seconds from the start of the script to ready, and from the hand-in to that start."""
    began = base.with_name("began")
    call = harness.command("run", "--image", str(DEMO), "--session-dir", str(base), "--json", options=tree())
    handed_in = time.time()
    job = slurm.sbatch(f"date +%s.%N >{began}\nexec {shlex.join(call)}", "--mem=4G", "--cpus-per-task=2", "--time=60")
    printed = slurm.wait_output(job, '"event": "ready"', _PATIENCE)
    events = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    [ready] = [event for event in events if event["event"] == "phase" and event["phase"] == "ready"]
    slurm.cancel(job)
    slurm.wait(job)
    script_began = float(began.read_text())
    reached: float = ready["started"] + ready["phases"]["ready"]
    return reached - script_began, script_began - handed_in
