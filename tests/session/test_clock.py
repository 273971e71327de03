"""The guest's clock is the node's and its time zone the user's, whatever the machine's clock and the image say."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path

import harness
import pytest
from conftest import Refuse, StartSession
from harness import Console, Session

MOST = 2.0  # seconds
# A node in a zone of its own: Apptainer shows its /etc/localtime as that of the container.
NEPAL = {"APPTAINER_BIND": "/usr/share/zoneinfo/Asia/Kathmandu:/etc/localtime"}


@pytest.fixture
def local(work: Path, spare: Path) -> Path:
    """The demo image on a machine whose clock shows the node's local time, of which its system knows nothing."""
    folder = work / "local"
    folder.mkdir(exist_ok=True)
    shutil.copy(harness.DEMO / "image.toml", folder)
    with (folder / "image.toml").open("a") as file:
        file.write('clock = "localtime"\n')
    (folder / "disk.qcow2").unlink(missing_ok=True)
    os.link(spare / "disk.qcow2", folder / "disk.qcow2")
    return folder


def shell_of(session: Session) -> Console:
    """In the guest, once it is ready."""
    session.wait_phase("ready")
    return Console(session)


def off(shell: Console) -> float:
    """How far the guest's clock is from the node's, in seconds."""
    before = time.time()
    guest = float(shell.run("date +%s.%N"))
    return max(before - guest, guest - time.time(), 0.0)


def zone(shell: Console) -> str:
    return shell.run("readlink --canonicalize /etc/localtime").removeprefix("/usr/share/zoneinfo/")


def ended(session: Session) -> list[str]:
    """The warnings that it had, without that of the emulation."""
    state = json.loads((session.folder / "session.json").read_text())
    session.send(signal.SIGTERM)
    assert session.wait_end(60) == 0, session.story()
    return [text for text in state["warnings"] if "NO KVM" not in text]


def test_a_guest_that_boots_by_a_wrong_clock_has_the_nodes_and_the_nodes_zone(start: StartSession, local: Path) -> None:
    session = start("--image", str(local), "--no-warm", env=NEPAL | {"TZ": None})
    shell = shell_of(session)
    assert off(shell) < MOST, "its machine's clock is 5:45 ahead of UTC"
    assert zone(shell) == "Asia/Kathmandu"
    assert shell.run("date +%z") == "+0545"
    assert ended(session) == []


def test_a_guest_that_was_frozen_long_ago_has_the_time_and_the_users_own_zone(start: StartSession) -> None:
    began = time.time()
    session = start("--image", str(harness.DEMO), env=NEPAL | {"TZ": ":Pacific/Chatham"})
    shell = shell_of(session)
    assert off(shell) < MOST
    assert zone(shell) == "Pacific/Chatham"
    assert int(shell.run("stat --format=%Y ~/.cache/first-logon")) < began, "logged on before its machine was frozen"
    assert ended(session) == []


def test_the_images_own_zone_stays_where_that_is_wanted(start: StartSession) -> None:
    session = start("--image", str(harness.DEMO), "--timezone", "image", env={"TZ": "Asia/Tokyo"})
    assert zone(shell_of(session)) in ("Etc/UTC", "UTC")
    assert ended(session) == []


def test_a_zone_that_is_none_is_refused_with_what_may_be_meant(refuse: Refuse) -> None:
    refuse("--image", str(harness.DEMO), "--timezone", "Berlin", code=2, says=["'Berlin'", "Europe/Berlin"])
