"""What a scheduler's job gives to the session that runs in it. Each scheduler has a module that knows where it stands.

The innermost comes first: a pool of HTCondor may itself run in jobs of another scheduler's.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from .allocations import of_condor, of_others, of_slurm
from .allocations.share import Allocation

__all__ = ["Allocation", "of", "warnings"]

_READERS = (of_condor.read, of_slurm.read, of_others.pbs, of_others.lsf, of_others.flux, of_others.grid_engine)


def of(environment: Mapping[str, str]) -> Allocation | None:
    """The allocation that this process runs in; None outside of any job."""
    return next((known for read in _READERS if (known := read(environment))), None)


def warnings(allocation: Allocation) -> list[str]:
    """What the user should know of a job that is not quite what it seems."""
    unclear = [f"the job {allocation.job}: {what}" for what in allocation.unclear]
    if not allocation.elsewhere:
        return unclear
    return [
        *unclear,
        f"this shell has the job {allocation.job}, but Slurm has not started it on a node of the job "
        f"({allocation.elsewhere}): "
        f"the desktop would run here, on {os.uname().nodename}. To run it there: srun --pty apptainer run ...",
    ]
