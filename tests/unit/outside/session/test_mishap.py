"""A machine that the kernel has killed is told with what the kernel kills for, and with the place of its log."""

from __future__ import annotations

from pathlib import Path

import pytest
from sevenlbd.outside.node import abilities
from sevenlbd.outside.session import mishap
from sevenlbd.outside.session.ending import going_now

LOG = Path("/tmp/7lbd-1/failed-a/logs/qemu.log")


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(abilities, "_cgroup_files", lambda: [tmp_path / "memory.max"])
    return tmp_path


def test_signal_9_names_the_limits_of_memory_and_the_log(group: Path) -> None:
    told = mishap.hint("QEMU ended with signal 9", LOG, in_job=True)
    assert "limit of memory: the job's, its control group's, or the node's" in told
    assert "--mem" in told
    assert told.endswith("/tmp/7lbd-1/failed-a/logs/qemu.log")
    (group / "memory.events").write_text("low 0\noom 2\noom_kill 3\n")
    assert "which counts 3 processes killed for that" in mishap.hint("QEMU ended with signal 9", LOG, in_job=True)


def test_a_saved_desktop_that_does_not_go_on_is_not_lost_and_its_own_qemu_is_named() -> None:
    assert mishap.nothing_lost("/a/x.7lbd", "1:10.0.2", "1:10.0.2") == "nothing of /a/x.7lbd is lost"
    told = mishap.nothing_lost("/a/x.7lbd", "1:10.0.2", "1:11.1.3")
    assert "QEMU 1:10.0.2 has written it, and here is 1:11.1.3: resume it with the 7lbd that suspended it" in told


def test_where_there_is_no_job_none_is_named(group: Path) -> None:
    told = mishap.hint("QEMU ended with signal 9", LOG, in_job=False)
    assert "control group's, or the node's" in told
    assert "job" not in told
    assert "scheduler" not in told
    assert "job" not in going_now(in_job=False)


def test_the_first_version_of_control_groups_counts_too(group: Path) -> None:
    (group / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n")
    assert abilities.killed_for_memory() == 1


def test_other_ends_name_what_they_are() -> None:
    assert "ulimit -f" in mishap.hint("QEMU ended with signal 25; its last words: ", LOG, in_job=True)
    assert "ulimit -t" in mishap.hint("QEMU ended with signal 24; its last words: ", LOG, in_job=True)
    assert mishap.hint("QEMU ended with exit code 1; its last words: x", LOG, in_job=True) == f"its log: {LOG}"
