"""Slurm's variables of a job that is not ours are told and not obeyed; those of our own, or of nobody knows, are."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from sevenlbd.base import lineage
from sevenlbd.config import sources, stale_variables
from sevenlbd.outside.job import allocation

PAST, LATER = str(int(time.time()) - 3600), str(int(time.time()) + 3600)
JOB = {"SLURM_JOB_ID": "7", "SLURMD_NODENAME": "n1", "SLURM_MEM_PER_NODE": "900", "SLURM_TMPDIR": "/x", "HOME": "/h"}


class Proc:
    """A /proc with a line of ancestors, and a control group."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.above("bash", "sshd", "systemd")
        (folder / "self" / "ns").mkdir(parents=True)
        self.pids("4026531836")
        self.group("/user.slice/user-1000.slice")

    def above(self, *names: str) -> None:
        """Our ancestors, the last one with PID 1."""
        numbers = [os.getpid(), *range(900_000, 900_000 + len(names) - 1), 1]
        for pid, parent, name in zip(numbers, [*numbers[1:], 0], ["7lbd", *names], strict=True):
            place = self.folder / str(pid)
            place.mkdir(exist_ok=True)
            (place / "comm").write_text(f"{name}\n")
            (place / "stat").write_text(f"{pid} (x) S {parent} 1 1 0 -1")

    def pids(self, namespace: str) -> None:
        link = self.folder / "self" / "ns" / "pid"
        link.unlink(missing_ok=True)
        link.symlink_to(f"pid:[{namespace}]")

    def group(self, path: str) -> None:
        (self.folder / "self" / "cgroup").write_text(f"4:memory:{path}\n0::{path}\n")


@pytest.fixture
def proc(tmp_path: Path) -> Proc:
    return Proc(tmp_path)


def heeded(proc: Proc, **more: str) -> tuple[dict[str, str], tuple[str, ...]]:
    return stale_variables.heeded({**JOB, **more}, proc.folder)


def test_a_job_whose_end_is_past_is_told_and_not_obeyed(proc: Proc) -> None:
    kept, [told] = heeded(proc, SLURM_JOB_END_TIME=PAST)
    assert kept == {"HOME": "/h"}
    assert "the environment speaks of job 7, which was to end at " in told
    assert allocation.of(kept) is None
    proc.pids("4026532000")
    assert heeded(proc, SLURM_JOB_END_TIME=PAST)[0] == {"HOME": "/h"}, "also where nothing else can be seen"


def test_an_end_in_the_past_of_our_own_job_is_not_obeyed_and_the_rest_is(proc: Proc) -> None:
    """Somebody has given it more time (scontrol update TimeLimit), or Slurm lets it run over (OverTimeLimit)."""
    proc.above("starter", "slurm_script", "slurmstepd", "systemd")
    kept, [told] = heeded(proc, SLURM_JOB_END_TIME=PAST)
    assert kept == JOB
    assert "the end of job 7" in told
    assert heeded(proc, SLURM_JOB_END_TIME=LATER) == ({**JOB, "SLURM_JOB_END_TIME": LATER}, ())


def test_variables_that_came_by_ssh_or_with_a_tmux_are_told(proc: Proc) -> None:
    kept, [told] = heeded(proc, SLURM_JOB_END_TIME=LATER)
    assert kept == {"HOME": "/h"}
    assert "this process is in none of Slurm's" in told


@pytest.mark.parametrize(
    "group", ["/slurm/uid_1000/job_8/step_batch", "/system.slice/slurmstepd.scope/job_8/step_0/user"]
)
def test_the_control_group_of_another_job_decides(proc: Proc, group: str) -> None:
    proc.above("slurm_script", "slurmstepd", "systemd")
    proc.group(group)
    kept, [told] = heeded(proc)
    assert kept == {"HOME": "/h"}
    assert "in job 8" in told
    assert heeded(proc, SLURM_JOB_ID="8")[1] == ()
    assert heeded(proc, SLURM_HET_JOB_ID="8")[1] == (), "a part of a heterogeneous job"


def test_where_nothing_can_be_seen_the_environment_is_believed(proc: Proc) -> None:
    proc.pids("4026532000")
    assert heeded(proc) == (JOB, ())
    proc.pids("4026531836")
    (proc.folder / "900000" / "comm").unlink()  # /proc with hidepid
    assert heeded(proc) == (JOB, ())
    assert stale_variables.heeded(JOB, proc.folder / "none") == (JOB, ())


def test_a_shell_of_sallocs_is_no_child_of_slurms(proc: Proc) -> None:
    shell = {name: value for name, value in JOB.items() if name != "SLURMD_NODENAME"}
    assert stale_variables.heeded(shell, proc.folder) == (shell, ())


def test_whoever_looks_around_sees_no_other_jobs_variables() -> None:
    here = sources.look_around({**JOB, "SLURM_JOB_END_TIME": PAST})
    assert "SLURM_JOB_ID" not in here.environment
    assert len(here.told) == 1
    assert sources.look_around({"HOME": "/h"}).told == ()


@pytest.mark.parametrize(
    ("line", "shell"),
    [
        (["starter", "slurm_script", "slurmstepd", "systemd"], "slurm_script"),
        (["starter", "slurmstepd", "systemd"], ""),
        (["starter", "bash", "systemd"], ""),
    ],
)
def test_a_shell_that_keeps_slurms_signals_is_seen(proc: Proc, line: list[str], shell: str) -> None:
    proc.above(*line)
    assert lineage.shell_between(os.getpid(), proc.folder) == shell
