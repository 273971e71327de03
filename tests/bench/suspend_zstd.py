"""The file of a saved desktop against `zstd -1` of the same bytes: both written in turns, and brought to disk."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import time
from pathlib import Path

from tests.session.harness import REPO, SIF

from .sessions import tree

_TURNS = 3


def measured(saved: Path, memory: Path, place: Path) -> tuple[float, float]:
    """Seconds that writing takes with us and with zstd; medians."""
    folder = place / "stand"
    folder.mkdir()
    call = ["apptainer", "exec", "--bind", str(REPO), "--bind", f"{place},{saved.parent}", *tree(), "--pwd", str(REPO)]
    call += ["--env", f"PYTHONDONTWRITEBYTECODE=1,PYTHONPATH=/usr/lib/7lbd:{REPO}", str(SIF), "python3"]
    call += ["-m", "tests.bench.saved_stand", str(saved), str(memory), str(folder)]
    ours, theirs = [], []
    with subprocess.Popen(call, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as stand:
        assert stand.stdin
        assert stand.stdout
        stand.stdout.readline()
        for _ in range(_TURNS):
            print(file=stand.stdin, flush=True)
            ours.append(float(json.loads(stand.stdout.readline())["seconds"]))
            theirs.append(_zstd(folder / "flat", folder / "flat.zst"))
        stand.stdin.close()
    shutil.rmtree(folder)
    return statistics.median(ours), statistics.median(theirs)


def _zstd(source: Path, target: Path) -> float:
    began = time.monotonic()
    subprocess.run(["zstd", "-1", "-q", "-f", str(source), "-o", str(target)], check=True)
    with target.open("rb") as file:
        os.fsync(file.fileno())
    return time.monotonic() - began
