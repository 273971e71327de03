"""No build step has the terminal as its input: the kernel stops for good whoever reads it from the background.

`make` runs with the real scripts on a terminal whose input is at its end. What they call is played by a script that
notes how it stands to the terminal (proc(5), stat: tty_nr and tpgid), in place of building anything.
"""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from sifbuild import paths

PATH = "/usr/bin:/bin:/usr/sbin:/sbin"
PATIENCE = 30.0
# Whoever has a terminal, and is not in its foreground, must not touch it.
NOTES = """#!/bin/bash
stat=$(</proc/$$/stat)
read -r _ _ group _ terminal foreground _ <<<"${stat##*) }"
how=
[ ! -t 0 ] || how+=' input'
[ "$terminal" = 0 ] || [ "$group" = "$foreground" ] || how+=' background'
echo "$0 $*:$how" >>"$CALLS"
"""
COMMANDS = ("apptainer", "mmdebstrap", "unshare", "npm", "sudo", "shellcheck")
INSTALLED = ("build/venv/bin/python", *(f"build/venv-test/bin/{name}" for name in ("python", "ruff", "mypy")))
NODE = ("tsc", "eslint", "prettier")
USERS = re.compile(r"apptainer run \S+/7lbd.sif run|venv-test/bin/|-m (pytest|mypy)|shellcheck|dev-web")
"""What is no build: the desktop itself, tests and lint, to which somebody may talk."""


def on_a_terminal(command: Sequence[str], folder: Path, env: Mapping[str, str]) -> str:
    """Run a command as the foreground of a terminal of its own, whose input ends at once; returns what it shows."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(folder)
        os.execvpe(command[0], [*command], dict(env))
    os.write(terminal, b"\x04")
    shown, deadline = b"", time.monotonic() + PATIENCE
    try:
        while time.monotonic() < deadline:
            if select.select([terminal], [], [], 0.2)[0]:
                try:
                    shown += os.read(terminal, 65536)
                except OSError:  # whoever had it has gone
                    return shown.decode(errors="replace")
        raise AssertionError(f"{command} hangs; so far: {shown.decode(errors='replace')}")
    finally:
        os.kill(pid, signal.SIGKILL)
        os.close(terminal)
        os.waitpid(pid, 0)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repo with the real Makefile and scripts, in which everything else notes its call in `calls`."""
    for name in ("scripts", "requirements", "containers"):
        shutil.copytree(paths.REPO / name, tmp_path / name, symlinks=True)
    shutil.copy(paths.REPO / "Makefile", tmp_path)
    (tmp_path / ".ci").mkdir()
    node = [f"build/dev-web/node_modules/.bin/{name}" for name in NODE]
    for path in (*(f"bin/{name}" for name in COMMANDS), *INSTALLED, *node):
        _plays(tmp_path / path)
    # What setup asks the machine, which has everything, and is asked for nothing.
    told = 'echo apptainer version 1.3.4; echo "$SEVENLBD_MEMORY ${SEVENLBD_MIRROR-}" >"$HOME/settings"'
    _plays(tmp_path / "bin/apptainer", told)
    _plays(tmp_path / "bin/dpkg-query", 'shift 2; printf "installed %s\\n" "$@"')
    _plays(tmp_path / "bin/stat", 'case "$*" in *%a*) echo 666 ;; *) exec /usr/bin/stat "$@" ;; esac')
    _plays(tmp_path / "bin/grep", 'case "$*" in */etc/sub*) exit 0 ;; *) exec /usr/bin/grep "$@" ;; esac')
    for venv, lock in (("venv", "build"), ("venv-test", "test")):
        shutil.copy(tmp_path / f"requirements/{lock}.txt", tmp_path / f"build/{venv}/lock.txt")
    return tmp_path


def _plays(path: Path, script: str = "exit 0") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{NOTES}{script}\n")
    path.chmod(0o755)


def calls(tree: Path, *command: str, **more: str) -> list[str]:
    """Every call of what was played, and how it stood to the terminal."""
    env = {"PATH": f"{tree}/bin:{PATH}", "CALLS": str(tree / "calls"), "HOME": str(tree), "TERM": "dumb", **more}
    shown = on_a_terminal(command, tree, env)
    told = (tree / "calls").read_text().splitlines() if (tree / "calls").exists() else []
    assert told, shown
    return told


@pytest.mark.parametrize("target", ["sif", "guest", "warm", "def", "run", "lint", "test", "bench", "clean"])
def test_no_target_builds_with_the_terminal_as_its_input(tree: Path, target: str) -> None:
    told = calls(tree, "make", target)
    builds = [call for call in told if not USERS.search(call)]
    assert builds
    assert [call for call in builds if call.endswith((" input", " background"))] == []
    assert [call for call in told if call.endswith(" background")] == []
    if target in ("guest", "run", "test"):
        assert any("/mmdebstrap " in call for call in builds), "the step that once hung"


def test_the_desktop_of_make_run_still_has_it(tree: Path) -> None:
    [desktop] = [call for call in calls(tree, "make", "run") if "7lbd.sif run" in call]
    assert desktop.endswith(": input")


def test_what_is_told_to_the_build_is_no_setting_of_the_desktop(tree: Path) -> None:
    calls(tree, "make", "run", SEVENLBD_MIRROR="mirror", SEVENLBD_BUILD_USER="somebody", SEVENLBD_MEMORY="4G")
    assert (tree / "settings").read_text() == "4G \n"


@pytest.mark.parametrize(
    "script",
    [
        "build-install-iso",
        "conformance-suite",
        "fetch-csharp",
        "fetch-shim",
        "further-guest",
        "lock",
        "make-reference",
        "setup-apptainer",
        "venv",
    ],
)
def test_a_script_that_builds_ends_its_input_before_it_starts_anything(tree: Path, script: str) -> None:
    """Those that no target above comes to, or only half."""
    lines = [line.strip() for line in (tree / "scripts" / script).read_text().splitlines()]
    begins = lines.index("no_input")
    inside = any(line == "main() {" for line in lines[:begins])
    before = lines[lines.index("main() {") + 1 : begins] if inside else lines[:begins]
    harmless = re.compile(r"$|#|set -|\. |local |readonly |\w+\(\) *\{|as_own_root|,|[A-Z]+=")
    assert [line for line in before if not harmless.match(line)] == []


def test_what_the_build_starts_has_no_terminal_at_all(tmp_path: Path) -> None:
    """Its own steps do not ask whether they may read one: /dev/tty is a way to it, too."""
    code = (
        "from sifbuild import process, paths; from pathlib import Path; paths.LOGS = Path('.'); paths.REPO = Path('.')"
    )
    code += "; process.run(['sh', '-c', 'readlink /proc/self/fd/0; cat </dev/tty && echo opened'], 'step')"
    env = {"PATH": PATH, "PYTHONPATH": str(paths.REPO / "scripts"), "PYTHONDONTWRITEBYTECODE": "1"}
    on_a_terminal(["/usr/bin/python3", "-c", code], tmp_path, env)
    _, found, tried = (tmp_path / "step.log").read_text().splitlines()
    assert found == "/dev/null"
    assert "No such device" in tried


def test_a_guests_build_that_is_ended_takes_its_steps_along(tree: Path) -> None:
    _plays(tree / "bin/mmdebstrap", "echo $$ >pid; exec sleep 600")
    env = {"PATH": f"{tree}/bin:{PATH}", "CALLS": str(tree / "calls"), "HOME": str(tree)}
    with subprocess.Popen([tree / "scripts/build-guest"], cwd=tree, env=env, stderr=subprocess.DEVNULL) as build:
        deadline = time.monotonic() + PATIENCE
        while not (tree / "pid").exists() or not (tree / "pid").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        build.terminate()
    step = Path("/proc", (tree / "pid").read_text().strip())
    while step.exists() and "Z" not in (step / "stat").read_text().rpartition(")")[2].split()[0]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
