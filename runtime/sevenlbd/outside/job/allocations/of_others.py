"""What PBS, LSF, Flux and Grid Engine tell a job in its environment.

Written after their manuals, and tried with made-up environments only: no such pool runs our tests. None of them tells
the job's end, and memory is told by the control group that the job is in, where there is one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ...node import abilities
from ...node.abilities import Limit
from .share import Allocation, number


def pbs(environment: Mapping[str, str]) -> Allocation | None:
    """PBS Professional, OpenPBS, Torque: PBS_JOBID is `123.server`, and `123[4].server` for a task of an array."""
    match = re.fullmatch(
        r"(\d{1,12})(?:\[(\d{0,12})\])?(?:\.[\w.-]{0,255})?", environment.get("PBS_JOBID", ""), re.ASCII
    )
    if not match:
        return None
    job, task = match[1], match[2] or ""
    cpus = number(environment, "NCPUS") or number(environment, "PBS_NUM_PPN")
    told = number(environment, "PBS_RESC_MEM")
    memory = Limit(told, "in the job's allocation (PBS_RESC_MEM)", more="ask PBS for more (-l select=1:mem={mib}mb)")
    return Allocation(
        job=f"{job}-{task}" if task else job,
        array=f"{job}[{task}]" if task else "",
        memory=memory if told else _by_control_group(environment["PBS_JOBID"]),
        cpus=cpus,
        scheduler="pbs",
    )


def lsf(environment: Mapping[str, str]) -> Allocation | None:
    """LSF: LSB_JOBINDEX is 0 for a job that is no array's; LSB_MCPU_HOSTS has `host slots` for each host."""
    job, task = number(environment, "LSB_JOBID"), number(environment, "LSB_JOBINDEX")
    if not job:
        return None
    words = environment.get("LSB_MCPU_HOSTS", "").split()
    slots = [int(word) for word in words[1::2] if re.fullmatch(r"[0-9]{1,6}", word)]
    limit = environment.get("LSB_CG_MEMLIMIT", "")
    told = int(limit, 16) if re.fullmatch(r"(0x)?[0-9a-fA-F]{1,14}", limit) else 0
    memory = Limit(told, "in the job's allocation (LSB_CG_MEMLIMIT)", more="ask LSF for more (-M {mib}MB)")
    return Allocation(
        job=f"{job}-{task}" if task else str(job),
        array=f"{job}[{task}]" if task else "",
        restarts=1 if environment.get("LSB_RESTART") == "Y" else 0,
        memory=memory if told else _by_control_group(str(job)),
        cpus=min(slots) if slots else 0,
        scheduler="lsf",
    )


def grid_engine(environment: Mapping[str, str]) -> Allocation | None:
    """Grid Engine and its heirs: JOB_ID is a common name, so SGE_TASK_ID must be there, `undefined` mostly."""
    job, task = number(environment, "JOB_ID"), environment.get("SGE_TASK_ID", "")
    if not job or not task:
        return None
    is_task = re.fullmatch(r"[0-9]{1,12}", task) is not None
    return Allocation(
        job=f"{job}-{task}" if is_task else str(job),
        array=f"{job}.{task}" if is_task else "",
        restarts=number(environment, "RESTARTED"),
        memory=_by_control_group(str(job)),
        cpus=number(environment, "NSLOTS"),
        scheduler="sge",
    )


def flux(environment: Mapping[str, str]) -> Allocation | None:
    """Flux: FLUX_JOB_ID is in base 58 behind an f, of whichever alphabet. CPUs are those that we may run on."""
    match = re.fullmatch(r"[f\u0192]?([1-9A-HJ-NP-Za-km-z]{1,13})", environment.get("FLUX_JOB_ID", ""))
    if not match:
        return None
    return Allocation(job=f"f{match[1]}", memory=_by_control_group(match[1]), scheduler="flux")


def _by_control_group(part: str) -> Limit | None:
    """The limit of the job's own control group; None where it has none."""
    return min(abilities.cgroup_limits(part), key=lambda limit: limit.for_guest, default=None)
