"""The entry point, until a verb takes over: a Ctrl-C is never lost, and a SIF that goes is told in a sentence."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sevenlbd.base import appliance
from sevenlbd.base.errors import ExitCode

_ENTRY = Path(__file__).parents[2] / "runtime" / "bin" / "7lbd"

# Stands for the runtime. The signal comes where Python can only report an exception and go on: in the callback of a
# weak reference, as at each import's end.
_LOST = """
import os, signal, weakref
class Lock: pass
lock = Lock()
def main():
    watch = weakref.ref(lock, lambda _: os.kill(os.getpid(), signal.SIGINT))
    globals().pop("lock")
    return 0
"""
_BLOCKED = """
import signal
def main():
    return len(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
"""


def entered(runtime: str, folder: Path, start: str = "") -> subprocess.CompletedProcess[str]:
    """The entry point's end, with `runtime` in the place of ours, after `start` ran in the same interpreter."""
    package = folder / "sevenlbd"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(runtime)
    (package / "start.py").write_text("def prepare(holds): pass")
    program = f"import runpy, signal, sys; {start}; sys.path.insert(0, sys.argv[1]); runpy.run_path(sys.argv[2])"
    command = [sys.executable, "-I", "-c", program, str(folder), str(_ENTRY)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)


_HEARD = "signal.signal(signal.SIGINT, signal.default_int_handler)"


def test_a_signal_at_the_end_of_an_import_ends_the_program(tmp_path: Path) -> None:
    assert entered(_LOST, tmp_path, _HEARD).returncode == -signal.SIGINT


def test_a_signal_that_came_before_ends_it_too(tmp_path: Path) -> None:
    before = f"{_HEARD}; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT]); signal.raise_signal(signal.SIGINT)"
    assert entered(_LOST, tmp_path, before).returncode == -signal.SIGINT


@pytest.mark.parametrize("start", ["signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])", "pass"])
def test_what_it_starts_inherits_no_blocked_signal(tmp_path: Path, start: str) -> None:
    assert entered(_BLOCKED, tmp_path, start).returncode == 0


def test_a_caller_that_ignores_it_is_heeded(tmp_path: Path) -> None:
    """Such is a shell's background job."""
    done = entered(_LOST, tmp_path, "signal.signal(signal.SIGINT, signal.SIG_IGN)")
    assert (done.returncode, done.stderr) == (0, "")


# When it goes: before start.py is looked for, in it, and while a module is read, which then ends too soon.
_GOING = {
    "before": ("", "shutil.rmtree(sys.argv[1])"),
    "at once": ("import shutil, sys; shutil.rmtree(sys.argv[1])\ndef prepare(holds): pass", ""),
    "half read": (
        "import shutil, sys\ndef prepare(holds): shutil.rmtree(sys.argv[1]); raise EOFError('too short')",
        "",
    ),
}


@pytest.mark.parametrize("moment", _GOING)
def test_a_sif_that_goes_in_the_first_milliseconds_is_told_in_a_sentence(moment: str, tmp_path: Path) -> None:
    within, before = _GOING[moment]
    sif = tmp_path / "sif"
    (sif / "sevenlbd").mkdir(parents=True)
    (sif / "sevenlbd" / "__init__.py").touch()
    (sif / "sevenlbd" / "start.py").write_text(within)
    entry = shutil.copy(_ENTRY, sif)
    program = f"""
import shutil, sys
sys.path.insert(0, sys.argv[1])
text = open(sys.argv[2]).read().replace('"/usr/lib/7lbd"', '"/nonexistent"')
code = compile(text, sys.argv[2], "exec")
{before}
exec(code, {{"__name__": "__main__", "__file__": sys.argv[2]}})
"""
    command = [sys.executable, "-IS", "-c", program, str(sif), str(entry)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    said = f"7lbd: this node: {appliance._GONE}\n  7lbd doctor\n"
    assert (done.returncode, done.stderr) == (ExitCode.RESOURCES, said)


def test_what_is_a_fault_of_ours_is_still_shown_whole(tmp_path: Path) -> None:
    done = entered("raise RuntimeError('ours')", tmp_path, "pass")
    assert "RuntimeError: ours" in done.stderr
    assert "Traceback" in done.stderr
