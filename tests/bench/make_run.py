"""`make run` when all is built, and with --from-nothing in a fresh clone: from the call to the machine's start."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from tests.session.harness import REPO

from .measure import Bench
from .sessions import scratch

AGAIN_LIMIT = 3.0
_PATIENCE = 3600.0


def run(bench: Bench) -> None:
    """Everything is there: what the second call costs."""
    seconds = bench.in_turns({"make run": lambda: _make_run(REPO)}, bench.rounds(5, 2))["make run"]
    bench.add("again, to QEMU running", "s", seconds, limit=AGAIN_LIMIT)


def from_nothing(bench: Bench) -> None:
    """A clone of what is committed, without anything built, in one piece and on a terminal at which nobody sits."""
    with scratch() as folder:
        clone = folder / "clone"
        # The repo may be another user's, and git does not pass that word on to its own end that reads the repo.
        trusting = ["git", "-c", "safe.directory=*"]
        call = [*trusting, "clone", "--quiet", "--no-hardlinks", f"--upload-pack={shlex.join(trusting)} upload-pack"]
        subprocess.run([*call, str(REPO), str(clone)], check=True)
        bench.tell("make run in a fresh clone, which takes minutes")
        bench.add("from nothing, to QEMU running", "s", [_make_run(clone, on_terminal=True)])
        subprocess.run(["make", "--silent", "clean"], cwd=clone, check=False)


def _make_run(repo: Path, *, on_terminal: bool = False) -> float:
    """Seconds from the call to QEMU's answer; the session is then switched off."""
    base = Path(tempfile.mkdtemp(prefix="7b-"))
    call = ["make", "--silent", "run", f"ARGS=--json --session-dir {base}"]
    if on_terminal:
        call = ["script", "--quiet", "--return", "--command", shlex.join(call), "/dev/null"]
    began = time.time()
    make = subprocess.Popen(call, cwd=repo, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    assert make.stdout
    running = 0.0
    try:
        for line in make.stdout:
            event = json.loads(line) if line.startswith("{") else {}
            if event.get("phase") == "booting":
                running = event["started"] + event["phases"]["booting"] - began
                os.kill(int(event["pid"]), signal.SIGTERM)
        make.wait(_PATIENCE)
    finally:
        make.kill()
        make.wait()
        shutil.rmtree(base, ignore_errors=True)
    assert running, "make run started no machine"
    return running
