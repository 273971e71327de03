"""The fork that checks a session before it begins."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

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
