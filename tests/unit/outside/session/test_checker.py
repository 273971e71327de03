"""The fork that checks a session before it begins."""

from __future__ import annotations

import errno
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sevenlbd import __main__ as entry
from sevenlbd.base import appliance
from sevenlbd.base.errors import ExitCode
from sevenlbd.outside.session.preflight import checker

_KILLED = """
import os, signal, time
from sevenlbd.outside.session.preflight import checker
checker._checked = lambda *_: time.sleep(60)
print(checker.Checker([], 0o77)._pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_check_is_gone_as_soon_as_its_session_is_killed() -> None:
    """The SIF goes with the session, and a check that outlives it prints a traceback of what it cannot load."""
    with subprocess.Popen([sys.executable, "-c", _KILLED], stdout=subprocess.PIPE, text=True) as session:
        assert session.stdout
        pid = int(session.stdout.readline())
        deadline = time.monotonic() + 5
        while _lives(pid) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not _lives(pid)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def not_there(*_: object) -> None:
    raise ModuleNotFoundError("No module named 'zoneinfo._common'")


def test_a_sif_that_goes_while_the_check_is_loaded_is_a_sentence_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Python says of a file that it cannot read any more that there is no such module."""
    monkeypatch.setattr("sevenlbd.base.later.put_off", lambda: None)
    monkeypatch.setattr("sevenlbd.outside.cli.command_line.parse", not_there)
    monkeypatch.setattr(appliance, "gone", lambda: OSError(errno.ENOTCONN, "the SIF is gone"))
    answer = checker._checked(["run"], 0o77, not_there)  # type: ignore[arg-type]
    monkeypatch.setattr(entry, "_run", lambda *_: answer.raise_trouble())
    assert entry.main(["run"]) == ExitCode.RESOURCES
    told = capfd.readouterr()
    assert "Traceback" not in told.out + told.err
    assert "the SIF is gone" in told.err


def test_a_module_that_is_missing_in_a_sif_that_is_there_is_a_fault_that_shows(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert appliance.gone() is None
    assert isinstance(appliance.gone(str(tmp_path / "gone")), OSError)
    monkeypatch.setattr("sevenlbd.outside.cli.command_line.parse", not_there)
    checker._checked(["run"], 0o77, not_there)  # type: ignore[arg-type]
    assert "zoneinfo._common" in capfd.readouterr().err
