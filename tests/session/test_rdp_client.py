"""The scripted client on a real desktop: through the page's own door, in and out, and what came counted."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import harness
import web
from harness import Session


def visit(session: Session, **wishes: Any) -> dict[str, Any]:
    """What the client tells of a visit."""
    request = {"url": web.url(session), "token": web.token(session), "move_seconds": 2, **wishes}
    call = ["apptainer", "exec", "--cleanenv", str(harness.SIF), "python3", "-m", "sevenlbd.outside.rdp_client"]
    done = subprocess.run(call, input=json.dumps(request), capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert session.password() not in done.stdout + done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def test_the_client_gets_the_desktop_that_a_browser_gets_and_tells_its_codec(demo: Session) -> None:
    report = visit(demo)
    assert report["outcome"] == "usable", report
    assert 0 < report["connected"] <= report["picture"] <= report["usable"]
    assert report["announced"] == ["RemoteFX"], "what IronRDP announces"
    assert report["codecs"]["RemoteFX"]["bytes"] > 10_000, report
    assert report["frames_per_second"] > 0
    assert report["marked_frames"]
    assert report["network_level"]


def test_a_wrong_password_is_refused_and_locks_nobody_out(demo: Session) -> None:
    report = visit(demo, password="not-the-password")
    assert report["outcome"] == "refused", report
    assert report["picture"] is None
    assert not report["codecs"]
    assert visit(demo, move_seconds=0)["outcome"] == "usable"


def test_a_wrong_key_gets_nowhere(demo: Session) -> None:
    report = visit(demo, token="x" * 43)
    assert report["outcome"] == "failed"
    assert "key" in report["words"]
    assert report["connected"] is None
