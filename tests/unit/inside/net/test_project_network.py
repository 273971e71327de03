"""A project's network, played in namespaces with a real OpenVPN server: who reaches whom, and who does not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parents[2]
NOBODY = {"timed out", "Network is unreachable"}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the play came to."""
    space = ["unshare", "-Urn", "--pid", "--fork", "--kill-child", "--mount-proc"]
    script = [sys.executable, str(HERE / "project_world.py"), str(tmp_path_factory.mktemp("project"))]
    done = subprocess.run(
        [*space, "env", f"PYTHONPATH={':'.join(filter(None, sys.path))}", *script],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert not done.returncode, done.stderr
    played: dict[str, Any] = json.loads(done.stdout)
    return played


def test_the_guest_reaches_the_submit_node_and_its_neighbour_as_the_sessions_address(found: dict[str, Any]) -> None:
    assert found["up"] == ["up 10.77.0.11", "up 10.77.0.12"]
    assert found["submit"] == ["10.77.0.11"]
    assert (found["neighbour"][0], found["back"]) == ("10.77.0.11", ["10.77.0.12"])


def test_a_port_that_the_site_has_not_opened_is_shut_and_so_is_the_session_itself(found: dict[str, Any]) -> None:
    assert set(found["neighbour"][1:]) <= NOBODY
    assert found["from the site"][0] == "10.77.0.1"
    assert set(found["from the site"][1:]) <= NOBODY
    assert set(found["past the tunnel"]) <= NOBODY


def test_a_hostile_servers_routes_name_servers_and_redirections_change_nothing(found: dict[str, Any]) -> None:
    there = {line.split()[0] for line in found["routes"]}
    assert there == {"10.77.0.0/16", "169.254.100.0/24"}
    assert set(found["elsewhere"]) <= NOBODY


def test_neither_a_borrowed_address_nor_a_process_of_the_session_gets_through(found: dict[str, Any]) -> None:
    assert set(found["another's address"] + found["session itself"]) <= NOBODY


def test_without_its_client_nothing_passes_and_with_a_new_one_it_does_again(found: dict[str, Any]) -> None:
    assert set(found["killed at once"]) <= NOBODY
    assert found["killed"][0] == "down OpenVPN has ended, and is started again"
    assert set(found["killed"][1:]) <= NOBODY
    assert found["again"] == ["up 10.77.0.11", "10.77.0.11"]


def test_a_server_that_is_gone_is_told_and_connected_to_again(found: dict[str, Any]) -> None:
    assert found["no server"][0].startswith("down the server hangs up")
    assert set(found["no server"][1:]) <= NOBODY
    assert found["reconnected"] == ["up 10.77.0.12", "10.77.0.12"]


def test_a_revoked_key_stays_outside(found: dict[str, Any]) -> None:
    last, since, answer = found["revoked"]
    assert last.startswith("down the server hangs up: it is down, or refuses this key")
    assert not [word for word in since if word.startswith("up")]
    assert answer in NOBODY


def test_an_address_outside_of_the_network_is_not_taken(found: dict[str, Any]) -> None:
    assert found["not in the prefix"][0] == (
        "down the server gives the address 10.99.0.12, which is none of 10.77.0.0/16"
    )
    assert set(found["not in the prefix"][1:]) <= NOBODY


def test_a_guest_cannot_fill_the_kernels_table_of_connections_by_talking_to_its_session(found: dict[str, Any]) -> None:
    assert found["followed"] < 100, "it said 600 things"
