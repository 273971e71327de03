"""What a Slurm job gives to the session that runs in it. Read from the environment and the control group; asks nobody.

The names are those of sbatch(1) and srun(1), output environment variables. What is garbage there is as good as absent.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from ...node import abilities
from ...node.abilities import Limit
from .share import Allocation, number

# slurm.h: the batch script, an interactive step and their like have numbers from here on, and are no steps of a user's.
_FIRST_SPECIAL_STEP = 0xFFFFFFF0
_BATCH_STEP = 0xFFFFFFFB  # slurm.h, SLURM_BATCH_SCRIPT


def read(environment: Mapping[str, str]) -> Allocation | None:
    """The allocation that this process runs in; None outside of any job of Slurm's."""
    job = environment.get("SLURM_JOB_ID", "")
    if not re.fullmatch(r"[0-9]{1,12}", job):
        return None
    step = number(environment, "SLURM_STEP_ID", -1)
    is_step = 0 <= step < _FIRST_SPECIAL_STEP
    tasks = _tasks_here(environment) if is_step else 1
    by_slurmd = bool(environment.get("SLURMD_NODENAME"))
    return Allocation(
        job=job,
        array=_array(environment),
        step=str(step) if is_step else "",
        restarts=number(environment, "SLURM_RESTART_COUNT"),
        memory=_memory(environment, job, tasks),
        cpus=_cpus(environment, tasks),
        ends=float(number(environment, "SLURM_JOB_END_TIME")),
        first=1 + (step + number(environment, "SLURM_LOCALID") if is_step else 0),
        batch=by_slurmd and step in (-1, _BATCH_STEP),
        elsewhere="" if by_slurmd else environment.get("SLURM_JOB_NODELIST", "the job's node"),
    )


def _array(environment: Mapping[str, str]) -> str:
    names = ("SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID")
    ids = "_".join(environment.get(name, "") for name in names)
    return ids if re.fullmatch(r"[0-9]{1,12}_[0-9]{1,12}", ids) else ""


def _tasks_here(environment: Mapping[str, str]) -> int:
    """How many tasks of our step run on this node: each may be a session."""
    counts = list(_expanded(environment.get("SLURM_STEP_TASKS_PER_NODE", "")))
    position = number(environment, "SLURM_NODEID")
    return max(counts[position], 1) if position < len(counts) else 1


def _expanded(counts: str) -> Iterator[int]:
    """A number for each node from Slurm's short form, `2(x3),1` for 2, 2, 2, 1; nothing when it is not of that form."""
    if not re.fullmatch(r"\d{1,6}(\(x\d{1,6}\))?(,\d{1,6}(\(x\d{1,6}\))?)*", counts, re.ASCII):
        return
    for count, times in re.findall(r"(\d+)(?:\(x(\d+)\))?", counts):
        for _ in range(int(times or 1)):
            yield int(count)


def _memory(environment: Mapping[str, str], job: str, tasks: int) -> Limit | None:
    """The tightest of what is told; srun(1) by itself tells nothing, and then the job's control group does.

    A --mem=0 is all of the node, whatever the control group has: that is no wish for all of it.
    """
    if any(environment.get(name) == "0" for name in ("SLURM_MEM_PER_NODE", "SLURM_MEM_PER_CPU")):
        return None
    limits = [*abilities.slurm_limits(environment), *abilities.cgroup_limits(f"job_{job}")]
    if not limits:
        return None
    least = min(limits, key=lambda limit: limit.for_guest)
    if tasks == 1:
        return least
    return Limit(least.size // tasks, f"for each of the step's {tasks} tasks here, of what is {least.whose}")


def _cpus(environment: Mapping[str, str], tasks: int) -> int:
    """CPUs of this task. A shell of salloc's is told about all nodes, of which it can be on one only."""
    all_nodes = list(_expanded(environment.get("SLURM_JOB_CPUS_PER_NODE", "")))
    on_node = number(environment, "SLURM_CPUS_ON_NODE") or (min(all_nodes) if all_nodes else 0)
    return max(on_node // tasks, 1) if on_node else 0
