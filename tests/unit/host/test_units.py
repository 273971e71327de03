"""The units that the appliance renders, as systemd itself reads them (systemd-analyze(1), verify)."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from sifbuild import paths

SIF = paths.BUILD / "7lbd.sif"
UNITS = {"grid-unit": ("--user",), "grid-pool-unit": ()}
"""What `render` calls them, and how systemd is asked: as a user's own, or as the machine's."""


def analyzer() -> str:
    """Debian's own. Its absence is no reason to pass."""
    program = shutil.which("systemd-analyze")
    assert program, "systemd-analyze is not here: Debian's package systemd has it; scripts/setup run test installs it"
    return program


def rendered(unit: str, folder: Path, command: str = "/usr/bin/true") -> Path:
    """The unit in a file. Its command has to be a program of this machine's."""
    site = folder / "7lbd.toml"
    site.write_text('[pool]\nuser = "daemon"\n[owner]\ngrace = "7m"\n')
    told = ["--bind", f"{site}:/etc/7lbd/7lbd.toml", str(SIF), "render", unit, "--command", command]
    done = subprocess.run(["apptainer", "run", *told], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    file = folder / f"7lbd-{unit}.service"
    file.write_text(done.stdout)
    return file


def verified(file: Path, *how: str) -> str:
    """What systemd says against it: what it does not know it ignores, with success and a line."""
    command = [analyzer(), "verify", "--man=no", *how, str(file)]
    env = os.environ | {"XDG_RUNTIME_DIR": str(file.parent), "LC_ALL": "C"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env, timeout=60)
    # It looks at what it needs, too: units of the machine are not ours.
    lines = [line for line in (done.stdout + done.stderr).splitlines() if file.name in line]
    return "\n".join(lines) if lines or done.returncode == 0 else done.stderr


@pytest.mark.parametrize("unit", UNITS)
def test_systemd_has_nothing_to_say_against_a_rendered_unit(unit: str, tmp_path: Path) -> None:
    assert verified(rendered(unit, tmp_path), *UNITS[unit]) == ""


@pytest.mark.parametrize("line", ["Nicce=19", "KillMode=mixxed", "TimeoutStopSec=soon", "ExecStart=/no/such/program"])
def test_a_mistake_in_a_unit_is_seen(line: str, tmp_path: Path) -> None:
    file = tmp_path / "7lbd-mistaken.service"
    file.write_text(f"[Service]\nType=exec\nExecStart=/usr/bin/true\n{line}\n")
    assert verified(file, "--user") != ""
