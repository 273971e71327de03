"""A guest that boots, in user-mode networking, by a wrong clock, at a site with ways out: one such for all of this."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import clocks
import harness
import pexpect
import pytest
import siteserver
import ways
from conftest import keep
from harness import HOST, Console, Session
from sitenet import SiteNet
from siteserver import DOWN, LICENSE, LICENSE_V6, LMGRD, NODE, OTHER, OTHER_V6, UNLISTED
from ways import MEGABITS, PROXY, SEEN, Guest


@pytest.fixture(scope="module")
def local(work: Path, spare: Path) -> Path:
    """The demo image on a machine whose clock shows the node's local time, of which its system knows nothing."""
    folder = work / "local"
    folder.mkdir()
    shutil.copy(harness.DEMO / "image.toml", folder)
    with (folder / "image.toml").open("a") as file:
        file.write('clock = "localtime"\n')
    os.link(spare / "disk.qcow2", folder / "disk.qcow2")
    return folder


@pytest.fixture(scope="module")
def cold(net: SiteNet, work: Path, local: Path) -> Iterator[Session]:
    """The session, ready."""
    base = work / "cold"
    site = ways.site_file(work, egress_allow=ways.ALLOW, network_rate=MEGABITS)
    words = ("--image", str(local), "--network", "user", "--no-warm")
    nepal = clocks.NEPAL | {"TZ": None} | ways.ALONE
    session = harness.start(*words, base=base, prefix=net.prefix, options=site, env=nepal)
    try:
        session.wait_phase("ready", 900)
        yield session
    except AssertionError:
        keep(base, "cold")
        raise
    finally:
        session.kill()


@pytest.fixture(scope="module")
def guest(cold: Session, work: Path) -> Iterator[Guest]:
    with ways.folder_of_the_home(work / "net" / "portal.pem") as folder:
        console = Console(cold)
        yield Guest(console, folder)
        console.close()


def test_user_mode_networking_serves_the_same_contract(cold: Session, guest: Guest) -> None:
    state = json.loads((cold.folder / "session.json").read_text())
    # The zone is told only where it is another one than the guest's.
    assert set(state["milestones"]) - {"zone"} == {"agent", "clock", "password", "ready-line", "rdp"}
    assert "169.254.100.15/24" in guest.console.run("ip -color=never -4 -br addr")
    assert guest.console.run("mountpoint -q /home/user1/Home && echo mounted") == "mounted"


def test_it_has_the_nodes_time_and_the_nodes_zone(guest: Guest) -> None:
    assert clocks.off(guest.console) < clocks.MOST, "its machine's clock is 5:45 ahead of UTC"
    assert clocks.zone(guest.console) == "Asia/Kathmandu"
    assert guest.console.run("date +%z") == "+0545"


def test_with_user_mode_networking_the_ways_are_the_same(guest: Guest, net: SiteNet) -> None:
    for host in ("license.example.edu", LICENSE_V6):
        assert guest.probe("licence", host)[:2] == ["vendord", "license.example.edu"]
        assert guest.probe("serial_numbers", host, 25) == list(range(25))
    (name_server,) = re.findall(r"DNS=(\S+)", guest.console.run("cat /run/systemd/netif/leases/*"))
    found = guest.probe("ask", name_server, "license.example.edu/A", "other.example.edu/A")
    assert found == {"license.example.edu/A": [0, LICENSE], "other.example.edu/A": [3]}
    assert guest.probe("web", PROXY, f"{guest.folder}/portal.pem", "https://portal.example.edu/") == ["activated"]
    # QEMU's network tells the guest only of a connection that stands: whether that one still does is chance.
    assert guest.probe("connect", LICENSE, DOWN)[1] in ("ECONNRESET", "ECONNREFUSED")
    assert guest.probe("connect", LICENSE, UNLISTED)[1] == "ECONNREFUSED"
    came, seconds = guest.probe("download", LICENSE, siteserver.BULK, 10_000_000)
    assert came * 8 / seconds < 1.1e6 * MEGABITS


def test_with_user_mode_networking_nothing_else_is_reached(guest: Guest, net: SiteNet) -> None:
    for host in (OTHER, NODE, OTHER_V6, "169.254.169.254"):
        assert guest.probe("connect", host, 443, 5)[1] in ("ENETUNREACH", "EHOSTUNREACH", "timeout"), host
    for target in (f"{HOST}/3389", f"{HOST}/22", "192.0.2.1/80"):
        assert guest.console.attempt(f"timeout 5 bash -c 'echo > /dev/tcp/{target}' 2>/dev/null")[1] != 0, target
    assert guest.probe("scan", HOST, "1-600", "3128", "3389", "54321") == [53, 445, 3128, 54321]
    doors = set(guest.probe("scan", LICENSE, "1-100", f"{LMGRD}-{UNLISTED}"))
    assert doors - {DOWN} == set(range(LMGRD, DOWN))
    assert {(kind, address, port) for kind, address, port in net.all_of("seen")} <= SEEN


def test_a_guest_that_shuts_itself_down_ends_the_session(cold: Session, guest: Guest) -> None:
    """The last one here."""
    # The console may go away in the middle of it; what counts is how the session ends.
    with suppress(pexpect.exceptions.ExceptionPexpect, OSError):
        guest.console.attempt("sudo poweroff; sleep 60")
    assert cold.wait_end() == 0, cold.story()
    assert cold.events[-1]["reason"] == "the guest shut down"
