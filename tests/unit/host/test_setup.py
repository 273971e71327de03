"""scripts/setup installs what is missing, asks nothing, and is silent when nothing is missing.

The machine is played by scripts in a folder of their own that stand first on PATH and note down how they were called.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from sifbuild import paths
from sifbuild.stages import lines

SUDO = 'echo "$*" >>"$CALLS"; shift; case " $* " in *" install "*) exit "${APT_CODE:-0}" ;; esac'


@dataclass
class Machine:
    """A repo with the real scripts, a folder of commands, and what root was asked to do."""

    repo: Path
    commands: Path
    calls: Path

    def has(self, name: str, script: str) -> None:
        path = self.commands / name
        path.write_text(f"#!/bin/bash\n{script}\n")
        path.chmod(0o755)

    def setup(self, *sets: str, **env: str) -> subprocess.CompletedProcess[str]:
        own = {"CALLS": str(self.calls), "PACKAGES": str(self.repo / "installed"), "PATH": f"{self.commands}:{PATH}"}
        command = [str(self.repo / "scripts/setup"), *sets]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | own | env)

    @property
    def asked(self) -> str:
        return self.calls.read_text() if self.calls.exists() else ""


PATH = "/usr/bin:/bin:/usr/sbin:/sbin"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine where everything is there."""
    made = Machine(tmp_path / "repo", tmp_path / "bin", tmp_path / "calls")
    made.commands.mkdir()
    shutil.copytree(paths.REPO / "scripts", made.repo / "scripts")
    packages = lines(paths.REPO / "scripts/packages/run") + lines(paths.REPO / "scripts/packages/test")
    (made.repo / "installed").write_text("\n".join(packages) + "\n")
    made.has("apptainer", "echo apptainer version 1.3.4")
    made.has("dpkg-query", 'sed "s/^/installed /" "$PACKAGES"')
    made.has("sudo", SUDO)
    made.has("stat", 'case "$*" in *%a*) echo 666 ;; *) exec /usr/bin/stat "$@" ;; esac')
    made.has("grep", 'case "$*" in */etc/sub*) exit 0 ;; *) exec /usr/bin/grep "$@" ;; esac')
    return made


@pytest.fixture
def lacks(machine: Machine) -> Callable[[str], None]:
    def without(name: str) -> None:
        path = machine.repo / "installed"
        path.write_text("".join(f"{line}\n" for line in path.read_text().split() if line != name))

    return without


def test_it_is_silent_when_all_is_there(machine: Machine) -> None:
    result = machine.setup("run", "test")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert machine.asked == ""


def test_it_installs_exactly_what_is_missing_without_a_question(machine: Machine, lacks: Callable[[str], None]) -> None:
    lacks("mmdebstrap")
    result = machine.setup("run")
    assert result.returncode == 0, result.stderr
    assert "mmdebstrap" in result.stderr
    install = [line for line in machine.asked.splitlines() if " install " in line]
    assert len(install) == 1
    assert install[0].endswith("--no-install-recommends mmdebstrap")
    assert "DEBIAN_FRONTEND=noninteractive" in install[0]
    assert "DPkg::Lock::Timeout=300" in install[0]


@pytest.mark.parametrize("there", [True, False])
def test_npm_is_installed_only_where_there_is_none(machine: Machine, lacks: Callable[[str], None], there: bool) -> None:
    lacks("npm")
    for folder in PATH.split(":"):
        for command in Path(folder).iterdir():
            if command.name != "npm" and not (machine.commands / command.name).exists():
                (machine.commands / command.name).symlink_to(command)
    if there:
        machine.has("npm", "exit 0")
    result = machine.setup("run", PATH=str(machine.commands))
    assert result.returncode == 0, result.stderr
    assert ("--no-install-recommends npm" in machine.asked) != there


def test_what_only_the_tests_need_is_not_installed_to_run(machine: Machine, lacks: Callable[[str], None]) -> None:
    lacks("shellcheck")
    assert machine.setup("run").stderr == ""
    assert "shellcheck" in machine.setup("run", "test").stderr


def test_a_failed_installation_fails_the_setup(machine: Machine, lacks: Callable[[str], None]) -> None:
    lacks("mmdebstrap")
    assert machine.setup("run", APT_CODE="100").returncode != 0


@pytest.mark.parametrize("version", ["1.1.9", "0.9"])
def test_an_apptainer_that_is_too_old_is_refused_by_its_version(machine: Machine, version: str) -> None:
    machine.has("apptainer", f"echo apptainer version {version}")
    result = machine.setup("run")
    assert result.returncode == 1
    assert f"apptainer {version} is too old" in result.stderr


@pytest.mark.parametrize("version", ["1.2.0", "1.4.5", "1.10.0-1.el9", "2.0"])
def test_an_apptainer_that_is_new_enough_is_used(machine: Machine, version: str) -> None:
    machine.has("apptainer", f"echo apptainer version {version}")
    assert machine.setup("run").returncode == 0
    assert machine.asked == ""


def test_closed_devices_are_opened_and_said_so_but_never_kvm(machine: Machine) -> None:
    machine.has("stat", 'case "$*" in *%a*) echo 600 ;; *) exec /usr/bin/stat "$@" ;; esac')
    result = machine.setup("run")
    for device in ("/dev/fuse", "/dev/net/tun"):
        if Path(device).exists():
            assert f"chmod 0666 {device}" in machine.asked
            assert device in result.stderr
    assert "kvm" not in machine.asked


def test_an_unknown_set_is_refused_by_name(machine: Machine) -> None:
    result = machine.setup("everything")
    assert result.returncode == 1
    assert "'everything'" in result.stderr
