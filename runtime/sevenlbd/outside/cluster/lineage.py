"""Whose child we are: does what Slurm signals to a job's batch shell come to us, or die with the shell?"""

from __future__ import annotations

import os
from pathlib import Path

# Apptainer's own processes between the caller and us, by their names in the kernel (proc_pid_comm(5), 15 characters).
_APPTAINERS = ("starter", "apptainer", "singularity", "appinit", "sinit")
_SLURMS = "slurmstepd"
_MOST = 16


def leads_job(pid: int, proc: Path = Path("/proc")) -> bool:
    """Whether process `pid` is what slurmstepd started, by nothing but execs and Apptainer in between.

    Not so, as far as can be seen, where /proc hides Slurm's processes.
    """
    for _ in range(_MOST):
        pid = _parent(pid, proc)
        name = _name(pid, proc)
        if name == _SLURMS:
            return True
        if not name.lower().startswith(_APPTAINERS):
            return False
    return False


def ours() -> bool:
    """The same of this process."""
    return leads_job(os.getpid())


def _name(pid: int, proc: Path) -> str:
    try:
        return (proc / str(pid) / "comm").read_text(errors="replace").strip()
    except OSError:
        return ""


def _parent(pid: int, proc: Path) -> int:
    try:
        return int((proc / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return 0
