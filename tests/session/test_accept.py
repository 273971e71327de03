"""`image accept`: a good guest passes, and one with many faults has each of them found and named."""

from __future__ import annotations

import json
import os
import re
import shutil
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

# Each line breaks one thing, as an image may come; behind it is the check that has to name it.
BREAKAGES = {
    "clock.cold": """
cat >/etc/systemd/system/late-clock.service <<'X'
[Unit]
After=7lbd-ready.service
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'date -s @$$(($$(date +%%s) + 3600))'
[Install]
WantedBy=multi-user.target
X
systemctl enable late-clock.service""",
    "boot.services": """
printf '[Service]\\nType=oneshot\\nExecStart=/bin/false\\n[Install]\\nWantedBy=multi-user.target\\n' \\
    >/etc/systemd/system/broken.service
systemctl enable broken.service""",
    "end.button": "printf '[Login]\\nHandlePowerKey=ignore\\n' >/etc/systemd/logind.conf.d/zz-deaf.conf",
    "power.sleep": "printf '[Login]\\nIdleAction=suspend\\n' >/etc/systemd/logind.conf.d/zz-idle.conf",
    "notice.shown": "printf '#!/bin/sh\\necho no display >&2\\nexit 3\\n' >/usr/lib/demo-guest/notice",
    "account.expires": "chage --maxdays 30 user1",
    "hygiene.passwords": "echo machine >/root/.netrc",
    "hygiene.answers": "echo d-i >/preseed.cfg",
    "hygiene.logs": "echo who >/var/log/made.log; touch --date '2020-01-01' /var/log/made.log",
    "end.agent": """
mkdir -p /etc/systemd/system/qemu-guest-agent.service.d
printf '[Service]\\nExecStart=\\nExecStart=/usr/sbin/qemu-ga --block-rpcs=guest-shutdown\\n' \\
    >/etc/systemd/system/qemu-guest-agent.service.d/zz-deaf.conf""",
}
# What an emulated CPU says nothing of.
NEEDS_KVM = {"node.kvm", "warm.idle", "desktop.frames", "files.up", "files.down"}
# What is made at the first start is in an image that has been started: one certificate for everybody.
OF_ITSELF = {"certificate.own"}


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


@pytest.fixture
def broken(work: Path, spare: Path, start: StartSession) -> Path:
    """An image with all these faults: a layer on top of the demo guest's disk, written by a warm session."""
    session = start("--image", str(harness.DEMO), "--acceptance")
    session.wait_phase("ready")
    harness.as_root(session, "\n".join(["set -e", *BREAKAGES.values(), "sync"]))
    folder = work / "broken"
    folder.mkdir()
    disk, frozen, base = (folder / name for name in ("disk.qcow2", "frozen.qcow2", "base.qcow2"))
    shutil.copy(session.folder / "overlay.qcow2", disk)
    ended(session)
    shutil.copy(spare / "warm" / "disk.qcow2", frozen)
    os.link(spare / "disk.qcow2", base)
    frozen.chmod(0o600)
    for above, below in ((frozen, base), (disk, frozen)):
        harness.tool("qemu-img", "rebase", "-u", "-F", "qcow2", "-b", below.name, str(above))
    shutil.copy(spare / "image.toml", folder)
    return folder


def test_a_guest_with_ten_faults_has_each_of_them_named(work: Path, broken: Path) -> None:
    code, record, _ = accepted(broken, work / "bad", "--stop-grace", "15s")
    assert code == 3
    assert not record["passed"]
    assert set(named(record, "fail")) == set(BREAKAGES) | OF_ITSELF, named(record, "fail")


def test_a_session_that_is_not_examined_runs_nothing_for_anybody(start: StartSession) -> None:
    session = start("--image", str(harness.DEMO))
    session.wait_phase("ready")
    with pytest.raises(AssertionError, match="not started for an acceptance"):
        harness.as_root(session, "id")
    ended(session)
