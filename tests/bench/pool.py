"""A thousand coordinators at one pool's service: a poll's cost, an image to many, a restart, how they come back.

Service and coordinators share the machine and its loopback; the coordinators' part is by far the larger one.
"""

from __future__ import annotations

import json
import subprocess
from typing import Any

from tests.session.harness import REPO, SIF

from .measure import Bench
from .sessions import tree

_PATIENCE = 1200.0
_MACHINES = 1000
_MOST_CPU = 20.0
"""Milliseconds of a core for what is asked and told in one poll: so a thousand take less than one, every 30 s."""


def run(bench: Bench) -> None:
    """All of it, in one stand."""
    machines = bench.amount(_MACHINES, 200)
    bench.tell(f"{machines} coordinators")
    told = _stand(machines, bench.amount(200, 40))
    polls = told["polls"]
    bench.add("CPU of a poll", "ms", [one["cpu_ms"] for one in polls], limit=_MOST_CPU, note="waiting and report")
    bench.add("polls each second", "", [one["each_second"] for one in polls], note="coordinators on the same machine")
    bench.add("memory of the service", "MB", [one["resident"] / 1e6 for one in polls])
    fan_out = told["fan_out"]
    bench.add("an image to many, of the rate that is allowed", "times", [fan_out["of_rate"]], limit=1.05)
    bench.add("  CPU for a gigabyte", "s", [fan_out["cpu_for_gb"]], note=f"sent away for later {fan_out['busy']} times")
    storm = told["storm"]
    bench.add("all served after a restart, none of them waiting", "s", [storm["seconds"]])
    back = told["back_off"]
    bench.add("most in one second after ten minutes' outage", "", [back["peak_each_second"]], note="by their own dice")
    bench.add("  all are back after", "s", [back["all_back"]])


def _stand(machines: int, moved: int) -> Any:
    call = ["apptainer", "exec", "--cleanenv", "--bind", str(REPO), "--pwd", str(REPO), *tree()]
    call += ["--env", "PYTHONDONTWRITEBYTECODE=1", str(SIF), "python3", "-m", "tests.bench.pool_stand"]
    done = subprocess.run(
        [*call, str(machines), str(moved)], capture_output=True, text=True, timeout=_PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
