"""A guest of foreign making under `image accept`: what is wrong with it is named, and what cannot be seen is told."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import harness
import pytest

FOREIGN = harness.REPO / "build" / "images" / "foreign"
FAULTS = {
    *("clock.cold", "boot.services", "end.button", "end.agent", "power.sleep"),
    *("notice.shown", "account.expires", "hygiene.passwords", "hygiene.answers", "hygiene.logs"),
}
"""What containers/foreign-guest breaks."""
LACKS = {"certificate.own", "files.drive", "desktop.login", "desktop.codec", "network.ports"}
"""What its makers have otherwise than we want it."""
SECONDS = 2400  # two starts of a stock Debian without KVM, on two cores that do other work, too


@pytest.fixture(scope="module")
def lines(grounds: Path) -> dict[str, dict[str, Any]]:
    """The record's checks by their names, of one quick acceptance."""
    subprocess.run([harness.REPO / "scripts" / "further-guest", "foreign"], check=True, timeout=SECONDS)
    out, base = grounds / "accepted", grounds / "foreign"
    for folder in (out, base):
        folder.mkdir()
    done = harness.run(
        *("image", "accept", str(FOREIGN), "--quick", "--output", str(out), "--session-dir", str(base), "--json"),
        *("--stop-grace", "15s"),
        timeout=SECONDS,
    )
    assert done.returncode == 3, done.stdout + done.stderr
    assert not list(base.iterdir()), "a session's folder is left"
    (report,) = out.glob("*.md")
    assert "wolke" not in report.read_text(), "a host's name is in the report"
    return {row["name"]: row for row in json.loads(done.stdout)["checks"]}


def outcomes(lines: dict[str, dict[str, Any]], *names: str) -> set[str]:
    return {lines[name]["outcome"] for name in names}


def test_what_the_guest_does_is_ok(lines: dict[str, dict[str, Any]]) -> None:
    for name in ("boot.starts", "account.exists", "disk.trim", "disk.boot"):
        assert lines[name]["outcome"] == "ok", lines[name]


def test_each_fault_and_what_it_lacks_is_named_and_nothing_else(lines: dict[str, dict[str, Any]]) -> None:
    assert {name for name, row in lines.items() if row["outcome"] == "fail"} == FAULTS | LACKS
    assert "it ended with 3: no display" in lines["notice.shown"]["says"] + lines["notice.shown"]["value"]
    assert "network-level authentication" in lines["desktop.login"]["says"]
    assert "22" in lines["network.ports"]["value"]
    assert "RemoteFX" not in lines["desktop.codec"]["value"]


def test_what_cannot_be_seen_of_it_is_said_so(lines: dict[str, dict[str, Any]]) -> None:
    files = [name for name in lines if name.startswith("files.") and name != "files.drive"]
    assert outcomes(lines, *files) == {"cannot tell"}
    # A log-in screen is a picture, too: nothing that is told by pictures is ok of a server that shows one to anybody.
    shown = ("desktop.first_log_on", "desktop.second_log_on", "desktop.wrong_password", "desktop.lock_out")
    assert outcomes(lines, *shown, "desktop.frames") == {"cannot tell"}
    assert outcomes(lines, *[name for name in lines if name.startswith("warm.")]) == {"cannot tell"}
