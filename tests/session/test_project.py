"""A project's private network in a real session: OpenVPN behind the wall, its transport by the relay."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import harness
import inside
import projectnet
import pytest
from conftest import Refuse, keep
from harness import Session
from projectnet import MINE, PORT, SERVER, SUBMIT, Node, StandIn

NOBODY = {"timed out", "Network is unreachable", "Connection refused", "No route to host"}
NODE = os.uname().nodename.partition(".")[0]


@pytest.fixture(scope="module")
def node(work: Path) -> Iterator[Node]:
    folder = work / "vpn"
    folder.mkdir()
    with projectnet.up(folder) as made:
        yield made


@pytest.fixture(scope="module")
def options(node: Node, work: Path) -> list[str]:
    """Options of Apptainer that give a session this site's settings."""
    keys = node.folder / f"{NODE}.pem"
    keys.write_bytes((node.folder / "one.pem").read_bytes())
    keys.chmod(0o600)
    table = {
        "server": f"{SERVER}:{PORT}",
        "prefix": "10.77.0.0/16",
        "ca": str(node.folder / "ca.crt"),
        "keys": [str(node.folder / "{node}.pem")],
        "server_name": "server",
    }
    path = work / "site.toml"
    lines = [f"{name} = {json.dumps(value)}" for name, value in table.items()]
    path.write_text("\n".join(["[network.project.lab]", *lines]))
    return ["--bind", f"{path}:/etc/7lbd/7lbd.toml", "--bind", str(node.folder)]


@pytest.fixture(scope="module")
def session(node: Node, options: list[str], work: Path, blank_image: Path) -> Iterator[Session]:
    """In the network; its machine boots to nothing, and a namespace at its bridge stands for the guest."""
    words = (
        "--image",
        str(blank_image),
        "--name",
        "lab",
        "--project",
        "lab",
        "--network-rate",
        "1000",
        "--no-home-share",
    )
    base = work / "sessions"
    begun = harness.start(*words, "--network", "tap", base=base, prefix=node.prefix, options=options)
    try:
        projectnet.wait_for(begun, up=True)
        yield begun
    except AssertionError:
        keep(base, "project")
        raise
    finally:
        begun.kill()


@pytest.fixture(scope="module")
def guest(session: Session, work: Path) -> Iterator[StandIn]:
    with projectnet.standing_in(session, work) as here:
        yield here


def status(node: Node, session: Session, options: list[str]) -> str:
    done = harness.run("status", "--session-dir", str(session.base), prefix=node.prefix, options=options)
    return done.stdout


def test_the_guest_reaches_the_projects_network_and_neither_its_server_nor_what_that_pushes(
    guest: StandIn, session: Session, node: Node, options: list[str]
) -> None:
    assert guest.ask(f"{SUBMIT}:9618") == [MINE]
    assert set(guest.ask(f"{SERVER}:{PORT}", f"127.0.0.4:{PORT}", "192.0.2.1:80")) <= NOBODY
    routes = session.inside("ip", "-4", "route").stdout.splitlines()
    assert {line.split()[0] for line in routes} == {"10.77.0.0/16", "169.254.100.0/24"}
    assert "PROJECT: lab: up since" in (told := status(node, session, options)), told
    assert told.count(MINE) == 1


def test_the_client_has_no_rights_and_its_key_lies_in_no_file(session: Session, node: Node) -> None:
    pid = session.pid_by_name("/usr/sbin/openvpn")
    state = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
    assert {state[name].strip() for name in ("CapPrm", "CapEff", "CapInh", "CapAmb")} == {"0" * 16}
    assert state["NoNewPrivs"] == "1"
    secret = (node.folder / "one.key").read_text().splitlines()[2]
    assert secret not in Path(f"/proc/{pid}/cmdline").read_text()
    seen = inside.run(
        session,
        "smbd",
        """
        found = []
        for folder, _, names in os.walk("/run/7lbd"):
            for name in names:
                path = os.path.join(folder, name)
                if stat.S_ISREG(os.lstat(path).st_mode) and os.path.getsize(path) < 1 << 20:
                    found += [path] if given[0] in open(path, errors="replace").read() else []
        """,
        secret,
    )
    assert seen == []


def test_a_process_of_the_session_that_was_taken_over_gets_nothing_through(session: Session) -> None:
    answered = inside.run(
        session,
        "smbd",
        """
        try:
            found = socket.create_connection((given[0], 9618), 2).recv(100).decode()
        except OSError as error:
            found = error.strerror or "timed out"
        """,
        SUBMIT,
    )
    assert answered in NOBODY


def test_another_session_cannot_have_the_same_key_nor_one_without_a_tap_the_network(
    refuse: Refuse, session: Session, node: Node, options: list[str], blank_image: Path
) -> None:
    words = ("--image", str(blank_image), "--project", "lab", "--no-home-share")
    says = ["each key of the project's network is in use by another session on this machine", "7lbd status"]
    refuse(*words, code=5, says=says, prefix=node.prefix, options=options)
    says = ["with user-mode networking a project's network cannot be held apart", "--network tap"]
    refuse(*words, "--network", "user", code=4, says=says, prefix=node.prefix, options=options)


def test_a_killed_client_means_no_traffic_until_it_is_there_again(guest: StandIn, session: Session) -> None:
    os.kill(session.pid_by_name("/usr/sbin/openvpn"), signal.SIGKILL)
    assert set(guest.ask(f"{SUBMIT}:9618")) <= NOBODY
    projectnet.wait_for(session, up=True)
    assert guest.ask(f"{SUBMIT}:9618") == [MINE]


def test_a_server_that_is_gone_is_told_and_a_revoked_key_stays_outside(
    guest: StandIn, session: Session, node: Node, options: list[str]
) -> None:
    node.stop_server()
    projectnet.wait_for(session, up=False)
    assert "PROJECT: lab: DOWN since" in status(node, session, options)
    assert set(guest.ask(f"{SUBMIT}:9618")) <= NOBODY
    node.revoke()
    log = node.folder / "server.log"
    before = log.stat().st_size
    node.start_server()
    deadline = time.monotonic() + harness.PATIENCE  # the client tries again every 30 s at least
    while "certificate revoked" not in (text := log.read_bytes()[before:].decode()):
        assert time.monotonic() < deadline, text
        time.sleep(0.2)
    state = projectnet.wait_for(session, up=False)
    assert "refuses this key" in str(state["project_trouble"])
    assert set(guest.ask(f"{SUBMIT}:9618")) <= NOBODY
