"""What a coordinator costs the owner of a machine while it has nothing to do but to look and to ask."""

from __future__ import annotations

import json
import subprocess

from tests.session.harness import REPO, SIF

from .measure import Bench
from .sessions import scratch, tree

_PATIENCE = 600.0
_SITE = """[owner]
when_empty = []
when_used = []
[grid]
trusted_keys = ["7lbd-ed25519:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="]
"""


def run(bench: Bench) -> None:
    """Begun anew in each round; it belongs to a pool in which 500 jobs wait, and its owner lends nothing."""
    seconds = bench.amount(60, 10)
    rounds = [_round(seconds) for _ in range(bench.rounds(5, 1))]
    bench.add("from its exec to its first word with the pool", "s", [one["first"] for one in rounds])
    bench.add("CPU while it has nothing to do", "% of a core", [100 * one["cpu"] for one in rounds])
    bench.add("memory, shared pages by their part (PSS)", "MB", [one["proportional"] / 1e6 for one in rounds])
    bench.add("memory, resident", "MB", [one["resident"] / 1e6 for one in rounds])


def _round(seconds: int) -> dict[str, float]:
    with scratch() as folder:
        (folder / "7lbd.toml").write_text(_SITE)
        call = ["apptainer", "exec", "--cleanenv", "--bind", str(REPO), "--pwd", str(REPO), *tree()]
        call += ["--bind", f"{folder}/7lbd.toml:/etc/7lbd/7lbd.toml", "--env", "PYTHONDONTWRITEBYTECODE=1", str(SIF)]
        call += ["python3", "-m", "tests.bench.coordinator_stand", str(folder), str(seconds)]
        done = subprocess.run(call, capture_output=True, text=True, timeout=_PATIENCE, check=False)
        assert done.returncode == 0, done.stderr
        found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        return found
