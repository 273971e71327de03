"""Whose control group is made light: made-up trees as systemd makes them."""

from __future__ import annotations

from pathlib import Path

import pytest
from sevenlbd.outside.node import cgroup_weight

MANAGER = "/user.slice/user-1000.slice/user@1000.service"


def group(tmp_path: Path, name: str) -> tuple[Path, Path]:
    own, folder = tmp_path / "cgroup", tmp_path / "fs" / name.lstrip("/")
    folder.mkdir(parents=True)
    own.write_text(f"3:cpuset:/\n0::{name}\n")
    for file in ("cpu.weight", "io.weight"):
        (folder / file).write_text("500\n")
    return own, folder


@pytest.mark.parametrize(
    "name",
    [f"{MANAGER}/app.slice/run-r3f.scope", f"{MANAGER}/app.slice/7lbd-grid.service", f"{MANAGER}/run-u7.service"],
)
def test_a_unit_of_the_users_own_that_has_nothing_else_in_it_is(tmp_path: Path, name: str) -> None:
    own, folder = group(tmp_path, name)
    assert cgroup_weight.lower(own, tmp_path / "fs") == ["cpu.weight", "io.weight"]
    for file in ("cpu.weight", "io.weight"):  # the kernel takes what is written, a plain file keeps the old one's end
        assert (folder / file).read_text()[:1] == "1"


@pytest.mark.parametrize(
    "name",
    [
        "/",
        "/user.slice/user-1000.slice/session-3.scope",
        "/system.slice/slurmstepd.scope/job_7",
        f"{MANAGER}/app.slice/app-org.gnome.Terminal.slice/vte-spawn-1.scope",
        f"{MANAGER}/init.scope",
        "/system.slice/run-r3f.scope",
        f"{MANAGER}/../../run-r3f.scope",
    ],
)
def test_no_other_is(tmp_path: Path, name: str) -> None:
    own, _ = group(tmp_path, name if ".." not in name else "/x")
    own.write_text(f"0::{name}\n")
    assert cgroup_weight.lower(own, tmp_path / "fs") == []


def test_what_is_not_there_is_not_made(tmp_path: Path) -> None:
    own, folder = group(tmp_path, f"{MANAGER}/run-r1.scope")
    (folder / "io.weight").unlink()
    assert cgroup_weight.lower(own, tmp_path / "fs") == ["cpu.weight"]
    assert not (folder / "io.weight").exists()
    assert cgroup_weight.lower(tmp_path / "nothing", tmp_path / "fs") == []
