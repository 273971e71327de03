"""Slurm's variables that speak of another job: a tmux that a job left behind, an ssh that sends them along.

They are told, and not obeyed. Where nothing can be seen (/proc hides Slurm's processes, or our container has PIDs of
its own) the environment is believed.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from pathlib import Path

from ..base import lineage

_SLURMS = "SLURM"
_END = "SLURM_JOB_END_TIME"
_IN_JOB = re.compile(r"/job_(\d+)(?:/|$)", re.MULTILINE)
# include/linux/proc_ns.h, PROC_PID_INIT_INO: the namespace in which every process of the node is seen.
_ALL_PIDS = "pid:[4026531836]"


def heeded(environment: Mapping[str, str], proc: Path = Path("/proc")) -> tuple[dict[str, str], tuple[str, ...]]:
    """The environment without what is another job's, and sentences on what that was."""
    job = environment.get("SLURM_JOB_ID", "")
    if not re.fullmatch(r"[0-9]{1,12}", job):
        return dict(environment), ()
    ours = _is_ours(job, environment, proc)
    if over := _over(environment):
        if ours:
            kept = {name: value for name, value in environment.items() if name != _END}
            return kept, (f"the end of job {job}, as {_END} has it, was at {over}: it is not heeded",)
        why = f"which was to end at {over}"
    elif ours is False:
        why = "and this process is in none of Slurm's that can be seen"
        if others := _in_jobs(proc):
            why = f"and this process is in job {others[0]}"
    else:
        return dict(environment), ()
    kept = {name: value for name, value in environment.items() if not name.startswith(_SLURMS)}
    return kept, (
        f"the environment speaks of job {job}, {why}: it is another's, as in a tmux that a job has left or an ssh that "
        "sends SLURM_* along, so nothing of it is heeded. In the job itself: srun --pty apptainer run ...",
    )


def _is_ours(job: str, environment: Mapping[str, str], proc: Path) -> bool | None:
    """Whether this process is in the job; None when that cannot be seen."""
    if jobs := _in_jobs(proc):
        # A step of a heterogeneous job has the leader's number in one variable, and its own in another.
        known = {value for name, value in environment.items() if name.startswith(_SLURMS)}
        return bool(known & {*jobs})
    below = lineage.is_below_slurm(os.getpid(), proc)
    # A shell of salloc's is nobody's child of Slurm's, and does not say that slurmd has started it.
    if below is False and ("SLURMD_NODENAME" not in environment or _shows_less(proc)):
        return None
    return below


def _in_jobs(proc: Path) -> list[str]:
    """The jobs whose control groups we are in."""
    try:
        return _IN_JOB.findall((proc / "self" / "cgroup").read_text())
    except OSError:
        return []


def _shows_less(proc: Path) -> bool:
    try:
        return str((proc / "self" / "ns" / "pid").readlink()) != _ALL_PIDS
    except OSError:
        return True


def _over(environment: Mapping[str, str]) -> str:
    """When the job's time was up, if it is; or nothing."""
    text = environment.get(_END, "")
    ends = int(text) if re.fullmatch(r"[0-9]{1,12}", text) else 0
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(ends)) if 0 < ends < time.time() else ""
