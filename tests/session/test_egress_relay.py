"""The relay of the ways out as a part of a session: what it carries, what its loss costs, and that it never stays."""

from __future__ import annotations

import json
import os
import signal
import socketserver
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import harness
import pytest
from conftest import StartSession
from harness import HOST, Session

RELAY = "sevenlbd.outside.egress.relay "
"""With its space: the broker's name begins in the same way."""
BROKER = "sevenlbd.outside.egress.relay.broker "
DOWN = 18443
"""A port of the portal's where nobody listens at first."""
# From inside the namespace, as the guest's programs would: by the proxy to the portal, which sends back what it gets.
ASK = f"""
import socket, sys
wire = socket.create_connection(("{HOST}", 3128), 10)
wire.sendall(f"CONNECT {{sys.argv[1]}} HTTP/1.1\\r\\nHost: x\\r\\n\\r\\nhello".encode())
wire.shutdown(socket.SHUT_WR)
while data := wire.recv(4096):
    sys.stdout.write(data.decode())
"""


class Echo(socketserver.StreamRequestHandler):
    """A portal."""

    def handle(self) -> None:
        """Until the other end has said all."""
        while data := self.request.recv(4096):
            self.request.sendall(data)


@pytest.fixture(scope="module")
def portal() -> Iterator[int]:
    """The port of a portal on this node."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.fixture
def session(start: StartSession, blank_image: Path, portal: int, tmp_path: Path) -> Session:
    """A session with ways out whose machine boots to nothing, which is enough."""
    settings = {
        "egress_allow": ["tcp://192.0.2.10:27000", *(f"https://portal.example.edu:{port}" for port in (portal, DOWN))],
        "egress_hosts": ["portal.example.edu=127.0.0.1"],
        "egress_log": str(tmp_path),
    }
    site = tmp_path / "site.toml"
    site.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items()))
    begun = start("--image", str(blank_image), options=["--bind", f"{site}:/etc/7lbd/7lbd.toml"])
    begun.wait_phase("booting")
    return begun


def ask(session: Session, where: str) -> subprocess.CompletedProcess[str]:
    return session.inside("/usr/bin/python3", "-c", ASK, where)


def test_what_went_through_is_on_the_list_and_told_at_the_end(session: Session, portal: int, tmp_path: Path) -> None:
    assert ask(session, f"portal.example.edu:{portal}").stdout.endswith("\n\nhello")
    assert " 403 " in ask(session, f"other.example.edu:{portal}").stdout
    assert " 403 " in ask(session, f"127.0.0.1:{portal}").stdout
    name = session.id
    session.send(signal.SIGTERM)
    session.wait_end()
    (note,) = [event["text"] for event in session.events if event["event"] == "note"]
    assert note == "the guest's ways out: 1 connection, 2 refused or failed, 5 B out, 5 B in"
    (path,) = tmp_path.glob(f"*-{os.getuid()}-{name}-*.jsonl")
    first, *rest = [json.loads(line) for line in path.read_text().splitlines()]
    assert (first["session"], first["host"], first["address"]) == (name, "portal.example.edu", "127.0.0.1")
    assert (first["up"], first["down"], first["end"]) == (5, 5, "closed by guest")
    assert [(line["host"], line["end"]) for line in rest] == [
        ("other.example.edu", "not on this site's list for https"),
        ("127.0.0.1", "not on this site's list for https"),
    ]


def test_a_session_goes_on_without_its_relay_and_says_so(session: Session, portal: int) -> None:
    assert ask(session, f"portal.example.edu:{portal}").stdout.endswith("hello")
    os.kill(session.pid_by_name(RELAY), signal.SIGKILL)
    warning = session.wait_event("warning")
    assert "relay of the guest's ways out has ended" in warning["text"]
    assert session.process.poll() is None
    assert "ConnectionRefusedError" in ask(session, f"portal.example.edu:{portal}").stderr
    told = json.loads((session.folder / "session.json").read_text())
    assert warning["text"] in told["warnings"]
    session.send(signal.SIGTERM)
    session.wait_end()
    assert not [event for event in session.events if event["event"] == "note"]


def ways_out(base: Path) -> list[str]:
    """What `status` says of them."""
    said = harness.run("status", "--session-dir", str(base)).stdout
    return [line.split("WAYS OUT: ")[1] for line in said.splitlines() if "WAYS OUT: " in line]


def wait_for_ways_out(base: Path, says: str, seconds: float = 40) -> None:
    """Until `status` has that; empty is nothing at all."""
    deadline = time.monotonic() + seconds
    while True:
        told = ways_out(base)
        if any(says in line for line in told) if says else not told:
            return
        assert time.monotonic() < deadline, told
        time.sleep(0.5)


def test_what_is_wrong_with_the_ways_out_is_in_status_while_it_is_wrong(session: Session, base: Path) -> None:
    """A server that is down and comes back, a relay that stands still; and the session ends in order all the same."""
    where = f"portal.example.edu:{DOWN}"
    assert " 502 " in ask(session, where).stdout
    wait_for_ways_out(base, f"portal.example.edu, port {DOWN}: refused (since ")
    assert json.loads((session.folder / "session.json").read_text())["ways_out"]
    with socketserver.ThreadingTCPServer(("127.0.0.1", DOWN), Echo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        wait_for_ways_out(base, "")
        assert ask(session, where).stdout.endswith("hello")
        server.shutdown()
    parts = {session.pid_by_name(RELAY), session.pid_by_name(BROKER)}
    os.kill(session.pid_by_name(RELAY), signal.SIGSTOP)
    wait_for_ways_out(base, "their relay stands still")
    session.send(signal.SIGTERM)
    assert session.wait_end() == 143, session.story()
    assert "Traceback" not in session.story()
    assert harness.wait_until_gone(parts) == set()


def test_a_supervisor_that_is_killed_leaves_no_relay(session: Session, base: Path) -> None:
    parts = {session.pid_by_name(RELAY), session.pid_by_name(BROKER)}
    session.send(signal.SIGKILL)
    session.wait_end()
    assert harness.wait_until_gone(parts) == set()
    harness.run("gc", "--session-dir", str(base))
