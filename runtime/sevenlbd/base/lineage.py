"""Whose child we are: does what a scheduler signals to a job's own program come to us, or die with a shell?"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

# Apptainer's own processes between the caller and us, by their names in the kernel (proc_pid_comm(5), 15 characters).
_APPTAINERS = ("starter", "apptainer", "singularity", "appinit", "sinit")
_SLURMS = "slurmstepd"
_STARTERS = (_SLURMS, "condor_starter")  # what starts a job's program, by its name in the kernel
_MOST = 16  # a guess: Apptainer has a few, and a circle in another's /proc ends
_MOST_ABOVE = 256  # a guess: nobody has so many shells in each other


def leads_job(pid: int, proc: Path = Path("/proc")) -> bool:
    """Whether process `pid` is what a scheduler started, by nothing but execs and Apptainer in between.

    Not so, as far as can be seen, where /proc hides the scheduler's processes.
    """
    for _ in range(_MOST):
        pid = _parent(pid, proc)
        name = _name(pid, proc)
        if name in _STARTERS:
            return True
        if not name.lower().startswith(_APPTAINERS):
            return False
    return False


def shell_between(pid: int, proc: Path = Path("/proc")) -> str:
    """The name of what stands between the job's starter and us and is nothing of Apptainer's; empty for none.

    Or when the starter is not seen: then nobody knows.
    """
    shell = ""
    for parent in _above(pid, proc):
        name = _name(parent, proc)
        if name in _STARTERS:
            return shell
        if not name.lower().startswith(_APPTAINERS):
            shell = name
    return ""


def is_below_slurm(pid: int, proc: Path = Path("/proc")) -> bool | None:
    """Whether slurmstepd is among our ancestors; None when not all of them are seen."""
    last = pid
    for parent in _above(pid, proc):
        if _name(parent, proc) == _SLURMS:
            return True
        last = parent
    return False if last == 1 else None


def _above(pid: int, proc: Path) -> Iterator[int]:
    """Our ancestors, as far as /proc shows them."""
    for _ in range(_MOST_ABOVE):
        pid = _parent(pid, proc)
        if pid < 1 or not _name(pid, proc):
            return
        yield pid


def is_apptainers_child(pid: int, proc: Path = Path("/proc")) -> bool:
    """Whether one of Apptainer's own processes has started process `pid`, and still stands behind it."""
    return _name(_parent(pid, proc), proc).lower().startswith(_APPTAINERS)


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
