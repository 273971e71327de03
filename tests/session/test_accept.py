"""`image accept`: a good guest passes. One with many faults: test_accept_foreign.py."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
from pathlib import Path
from typing import Any

import harness
import pytest
from conftest import StartSession
from harness import Session

READY = ("--ready-timeout", "10m")
MINUTES = 20 * 60

# What an emulated CPU says nothing of.
NEEDS_KVM = {"node.kvm", "warm.idle", "desktop.frames", "files.up", "files.down"}


def accepted(image: Path, output: Path, *more: str) -> tuple[int, dict[str, Any], str]:
    """The exit code, the record and the report of an acceptance."""
    output.mkdir()
    ended = harness.run(
        *("image", "accept", str(image), "--quick", "--json", "--output", str(output), *READY, *more), timeout=MINUTES
    )
    assert ended.stdout, ended.stderr
    record = json.loads(ended.stdout)
    (report,) = output.glob("acceptance-*.md")
    (kept,) = output.glob("acceptance-*.json")
    assert json.loads(kept.read_text()) == record
    return ended.returncode, record, report.read_text()


def named(record: dict[str, Any], outcome: str) -> dict[str, str]:
    """The checks that came to this, with what they say."""
    return {row["name"]: row["says"] for row in record["checks"] if row["outcome"] == outcome}


def test_the_demo_guest_passes_and_what_cannot_be_told_says_why(work: Path) -> None:
    code, record, report = accepted(harness.DEMO, work / "good")
    assert named(record, "fail") == {}
    assert (code, record["passed"], record["quick"]) == (0, True, True)
    untold = named(record, "cannot tell")
    assert all(untold.values())
    assert set(untold) <= NEEDS_KVM, untold
    assert {"boot.starts", "clock.warm", "certificate.own", "end.button", "warm.random", "warm.thaw"} <= set(
        named(record, "ok")
    )
    # Both are made to be passed on. A host may be called "vm": a word as short as that tells nothing.
    secrets = [os.environ.get("USER", "nobody's"), str(Path.home()), socket.gethostname(), str(harness.REPO)]
    told = report + json.dumps(record)
    assert [word for word in secrets if len(word) > 2 and re.search(rf"(?<!\w){re.escape(word)}(?!\w)", told)] == []
    assert "clock.warm" in report


def ended(session: Session) -> None:
    """Let a session come to its end, so that nothing of it is left."""
    session.send(signal.SIGTERM)
    session.wait_end()


def test_a_session_that_is_not_examined_runs_nothing_for_anybody(start: StartSession) -> None:
    session = start("--image", str(harness.DEMO))
    session.wait_phase("ready")
    with pytest.raises(AssertionError, match="not started for an acceptance"):
        harness.as_root(session, "id")
    ended(session)
