"""A step that fails shows its command and the end of its output; one that is interrupted takes its children along."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sifbuild import paths, process

SCRIPTS = Path(__file__).parents[3] / "scripts"


def test_a_failure_names_the_command_and_shows_the_end_of_its_output(repo: Path) -> None:
    with pytest.raises(process.BuildError, match=r"sh ended with 3(.|\n)*the reason"):
        process.run(["sh", "-c", "seq 100; echo the reason >&2; exit 3"], "step")
    log = (paths.LOGS / "step.log").read_text()
    assert log.startswith("+ sh -c 'seq 100;")


def test_the_tail_is_short(repo: Path) -> None:
    with pytest.raises(process.BuildError) as caught:
        process.run(["sh", "-c", "seq 100; false"], "step")
    assert "\n    100" in str(caught.value)
    assert "\n    50\n" not in str(caught.value)


def test_a_child_that_hangs_up_on_its_group_does_not_take_us_along(repo: Path) -> None:
    # Under nohup(1) whoever starts us has it ignored, and a shell leaves it so.
    hangs_up = "import os, signal; signal.signal(signal.SIGHUP, signal.SIG_DFL); os.killpg(0, signal.SIGHUP)"
    with pytest.raises(process.BuildError, match="ended with -1"):
        process.run([sys.executable, "-c", hangs_up], "step")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_build_that_is_ended_ends_what_it_started(repo: Path, how: signal.Signals) -> None:
    marker = repo / "pid"
    code = f"""
import signal, sys; sys.path.insert(0, {str(SCRIPTS)!r})
from pathlib import Path
from sifbuild import paths, process
# A shell that starts us in the background has it ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
paths.REPO, paths.LOGS = Path({str(repo)!r}), Path({str(repo)!r})
process.run(["sh", "-c", "echo $$ > pid; exec sleep 600"], "step")
"""
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL) as build:
        wait_for(lambda: marker.is_file() and bool(marker.read_text()))
        build.send_signal(how)
    child = int(marker.read_text())
    wait_for(lambda: not running(child))


def running(pid: int) -> bool:
    """A zombie counts as ended: who has to wait for it is not our affair."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_for(condition: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def test_the_environment_can_be_added_to(repo: Path) -> None:
    process.run(["sh", "-c", 'test "$EXTRA" = "a b" && test -n "$PATH"'], "step", {"EXTRA": "a b"})
    assert "EXTRA" not in os.environ
