"""What a job of HTCondor's gives to the session that runs in it, as its two files say: the job's ad, and its slot's.

The starter writes both into the job's scratch folder and names them in the environment (HTCondor's manual, "Services
for Running Jobs"). A name without a file is a leftover of another job.
"""

from __future__ import annotations

from collections.abc import Mapping

from ....base.errors import visible
from ...node.abilities import Limit
from ...node.node_programs import NodePrograms
from ...schedulers import classad, condor
from ...schedulers.classad import Value
from .share import Allocation

VM_NAMES = ("vm_name", "SevenLbdImage")
"""Attributes of a job by which it names its image: +vm_name in its description."""
_MIB = 1 << 20  # bytes
_LONGEST = 400  # characters; a guess: a host's name, two numbers and a time
_MORE = "ask HTCondor for more (request_memory = {mib}M)"


def read(environment: Mapping[str, str]) -> Allocation | None:
    """The allocation that this process runs in; None outside of any job of HTCondor's."""
    job = classad.read(environment.get("_CONDOR_JOB_AD", ""))
    if job is None or (cluster := classad.number(job, "ClusterId")) == 0:
        return None
    slot = classad.read(environment.get("_CONDOR_MACHINE_AD", "")) or {}
    vacate, unclear = _vacate(environment, job, slot)
    alone = classad.number(job, "TotalSubmitProcs") == 1
    return Allocation(
        job=f"{cluster}.{classad.number(job, 'ProcId')}",
        array=str(cluster) if alone else "",
        restarts=max(classad.number(job, "JobRunCount") - 1, 0),
        memory=_memory(job, slot),
        cpus=classad.number(slot, "Cpus") or classad.number(job, "CpusProvisioned", "RequestCpus"),
        ends=_ends(job, slot),
        vacate=vacate,
        unclear=unclear,
        batch=True,
        scheduler="condor",
        image=_image(job),
        unique=visible(classad.text(job, "GlobalJobId"), _LONGEST),
    )


def _memory(job: Mapping[str, Value], slot: Mapping[str, Value]) -> Limit | None:
    if size := classad.number(slot, "Memory"):
        return Limit(size * _MIB, "in the job's slot (Memory of its machine ad)", more=_MORE)
    if size := classad.number(job, "MemoryProvisioned", "RequestMemory"):
        return Limit(size * _MIB, "in the job's request (its job ad)", more=_MORE)
    return None


def _ends(job: Mapping[str, Value], slot: Mapping[str, Value]) -> float:
    """The earliest end that is told: a limit of the job's, or a pilot's (GLIDEIN_ToDie), and the job's with it."""
    began = classad.number(job, "JobCurrentStartDate", "JobStartDate")
    limits = [classad.number(job, name) for name in ("AllowedExecuteDuration", "AllowedJobDuration")]
    ends = [began + limit for limit in limits if began and limit]
    if pilot := classad.number(slot, "GLIDEIN_ToDie"):
        ends.append(pilot)
    return float(min(ends, default=0))


def _vacate(
    environment: Mapping[str, str], job: Mapping[str, Value], slot: Mapping[str, Value]
) -> tuple[float, tuple[str, ...]]:
    """What the job asks for, if its machine grants so much; and which of both nobody here can tell.

    Both are expressions where somebody has written them so: HTCondor's own default is 10 * 60.
    """
    asked, no_asked = _seconds(environment, "_CONDOR_JOB_AD", job, "JobMaxVacateTime")
    granted, no_granted = _seconds(environment, "_CONDOR_MACHINE_AD", slot, "MachineMaxVacateTime")
    unclear = tuple(filter(None, (no_asked, no_granted)))
    if not asked:
        return 0.0, unclear
    return min(filter(None, (asked, granted))), unclear


def _seconds(environment: Mapping[str, str], ad_file: str, ad: Mapping[str, Value], name: str) -> tuple[float, str]:
    """A time of an ad, or why it is not known."""
    if known := classad.number(ad, name):
        return float(known), ""
    file = environment.get(ad_file, "")
    if not classad.has_expression(file, name):
        return 0.0, ""
    if found := condor.evaluated(NodePrograms(environment), file, name):
        return found, ""
    return 0.0, f"its {name} is an expression, and no condor_status is here to evaluate it: it is passed over"


def _image(job: Mapping[str, Value]) -> str:
    """What the job calls its image; whether there is such a one is looked up as any other name."""
    named = next((name for attribute in VM_NAMES if (name := classad.text(job, attribute))), "")
    return visible(named)
