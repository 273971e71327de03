"""A frozen guest's clock is the node's and its time zone the user's. One that boots by a wrong clock: test_cold.py."""

from __future__ import annotations

import json
import signal
import time

import harness
from clocks import MOST, NEPAL, off, zone
from conftest import Refuse, StartSession
from harness import Console, Session


def shell_of(session: Session) -> Console:
    """In the guest, once it is ready."""
    session.wait_phase("ready")
    return Console(session)


def ended(session: Session) -> list[str]:
    """The warnings that it had, without that of the emulation."""
    state = json.loads((session.folder / "session.json").read_text())
    session.send(signal.SIGTERM)
    assert session.wait_end() == 0, session.story()
    return [text for text in state["warnings"] if "NO KVM" not in text]


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
