"""How a session with a running guest ends: at every later phase, by every way, in order or by force."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import harness
import pytest
from conftest import StartSession
from harness import Console, Session

DEMO = ("--image", str(harness.DEMO), "--ready-timeout", "900")


@pytest.fixture(scope="module")
def slow(work: Path, spare: Path) -> Path:
    """The demo image, whose guest takes its time for the last step before it is ready."""
    folder = work / "slow"
    (folder / "warm").mkdir(parents=True)
    for path in (*spare.glob("*.*"), *spare.glob("warm/*")):
        os.link(path, folder / path.relative_to(spare))
    description = (spare / "image.toml").read_text()
    (folder / "image.toml").unlink()
    (folder / "image.toml").write_text(re.sub(r"(?m)^warm_hook = .*", 'warm_hook = ["/bin/sleep", "600"]', description))
    return folder


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, 137)])
def test_a_signal_ends_a_session_whose_guest_is_up_and_not_ready(
    start: StartSession, base: Path, slow: Path, number: signal.Signals, code: int
) -> None:
    session = start("--image", str(slow), "--stop-grace", "60s")
    session.wait_phase("guest-up")
    below = set(session.processes())
    session.send(number)
    assert session.wait_end() in (code, -number), session.story()
    assert harness.wait_until_gone(below) == set()
    harness.run("gc", "--session-dir", str(base))


def test_three_at_once_get_ready_and_end_in_three_ways(start: StartSession, base: Path) -> None:
    sessions = [start(*DEMO, "--stop-grace", "300s", "--name", f"s{number}") for number in range(3)]
    for session in sessions:
        session.wait_phase("ready", 900)
    assert len({session.password() for session in sessions}) == 3
    assert len({namespace(session) for session in sessions}) == 3
    by_signal, by_verb, by_force = sessions

    by_signal.send(signal.SIGTERM)
    assert by_signal.wait_end(400) == 0, by_signal.story()
    assert_shut_down_in_order(by_signal)

    stopped = harness.run("stop", "s1", "--session-dir", str(base), timeout=400)
    assert stopped.returncode == 0, stopped.stderr
    assert by_verb.wait_end() == 0
    assert_shut_down_in_order(by_verb)

    below = set(by_force.processes())
    by_force.send(signal.SIGKILL)
    by_force.wait_end()
    assert harness.wait_until_gone(below) == set()

    harness.run("gc", "--session-dir", str(base))


def namespace(session: Session) -> Path:
    """The session's network namespace."""
    return Path(f"/proc/{session.pid_of('qemu-system-x86_64')}/ns/net").readlink()


def assert_shut_down_in_order(session: Session) -> None:
    """The guest went by itself: well before it would have been switched off."""
    phases = session.events[-1]["phases"]
    assert phases["ended"] - phases["stopping"] < 280, session.story()
    assert not [event for event in session.events if "did not shut down" in str(event.get("text"))], session.story()


def test_a_guest_that_ignores_acpi_and_the_agent_is_switched_off(start: StartSession) -> None:
    session = start(*DEMO, "--stop-grace", "6s")
    session.wait_phase("ready")
    console = Console(session)
    # Neither the one who hears the power button nor the agent moves any more.
    console.run("sudo pkill -STOP systemd-logind && sudo pkill -STOP qemu-ga")
    console.close()
    begun = time.monotonic()
    session.send(signal.SIGTERM)
    assert session.wait_end() == 0
    assert time.monotonic() - begun > 5
    assert any("did not shut down" in str(event.get("text")) for event in session.events), session.story()


def test_a_second_signal_ends_it_at_once(start: StartSession) -> None:
    session = start(*DEMO, "--stop-grace", "300s", "--exit-when-ready")
    session.wait_phase("stopping")
    session.send(signal.SIGINT)
    time.sleep(1.5)
    session.send(signal.SIGINT)
    begun = time.monotonic()
    assert session.wait_end() == 0
    assert time.monotonic() - begun < 60
