"""A machine that is lent: its coordinator as an ordinary user's service, real sessions, a pool in the test's hand.

Nobody can move this machine's clock, so the owner's hours are moved, and her log-ins are files of a made-up node.
The guests are empty disks that never come up: they are switched off, which is all that they are for.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import harness
import pool_stand_in
import pytest
from lent_machine import LentMachine
from pool_images import DISK, PoolImages
from pool_stand_in import PoolStandIn
from strange import node

MIB = 1 << 20
_GRACE = 10.0
_STORE = 64 * MIB


@pytest.fixture(scope="module")
def images(work: Path) -> PoolImages:
    images = PoolImages(work)
    images.add("1")
    return images


@pytest.fixture(scope="module")
def pool(work: Path, images: PoolImages) -> Iterator[PoolStandIn]:
    with pool_stand_in.serving(work, images.folder) as pool:
        pool.offered = {"lab": "1"}
        yield pool


@pytest.fixture(scope="module")
def machine(work: Path, pool: PoolStandIn, images: PoolImages) -> Iterator[LentMachine]:
    """It lends while nobody is logged in; its store is a small disk."""
    folder = work / "m"
    folder.mkdir()
    store = folder / "st" / "grid" / "coordinator" / "images"
    store.mkdir(parents=True, mode=0o700)
    for part in (store.parent, store.parents[1]):
        part.chmod(0o700)
    prefix = node(f"mount -t tmpfs -o size={_STORE},mode=0700 none {store}")
    machine = LentMachine(folder, harness.SIF, prefix)
    pool.enrol(machine.state)
    machine.grants(f"""\
min_space = "1M"
egress_allow = ["tcp://{pool_stand_in.COLLECTOR}"]

[owner]
when_used = []
memory = "64M"
grace = "{_GRACE}s"

[grid]
trusted_keys = ["{images.public}"]
slots = 1
cpus = 1
memory = "128M"
rate = "4M"
quota = "200M"
""")
    with machine.lent():
        yield machine


def wait_vm(machine: LentMachine, pool: PoolStandIn) -> str:
    """Have a job wait until its VM has begun; then it waits no more."""
    pool.wanted = {"lab": 1}
    (name,) = machine.wait("a VM", machine.sessions)
    pool.wanted = {}
    return str(name)


def test_an_owner_who_logs_in_during_a_fetch_stops_it_and_no_byte_is_paid_for_twice(
    machine: LentMachine, pool: PoolStandIn
) -> None:
    machine.log_in()
    pool.wanted = {"lab": 1}
    machine.begin()
    machine.wait("a report", lambda: pool.reports)
    assert (pool.reports[-1]["owner"], pool.reports[-1]["lends"]) == ("present", False)
    assert "ada" not in json.dumps(pool.reports), "who is there is nobody's business"
    assert pool.sent == {}, "nothing is fetched while she is there"

    machine.log_out()
    machine.wait("a part of it", lambda: pool.sent.get("lab/1/disk.raw", 0) > 4 * MIB)
    machine.log_in()
    machine.wait_change("image lab@1", "in part")
    time.sleep(2)  # what was asked for before that may still be read
    came = pool.sent["lab/1/disk.raw"]
    time.sleep(3)
    assert pool.sent["lab/1/disk.raw"] == came
    assert machine.sessions() == {}

    machine.log_out()
    machine.wait_change("image lab@1", "whole")
    assert pool.sent["lab/1/disk.raw"] <= DISK + 8 * MIB, "what was under way came again, and nothing else"


def test_an_owner_who_logs_in_while_a_vm_starts_finds_it_gone_in_time(machine: LentMachine, pool: PoolStandIn) -> None:
    name = wait_vm(machine, pool)
    supervisor = machine.sessions()[name]
    machine.log_in()
    began = time.monotonic()
    machine.wait("it is gone", lambda: not machine.sessions())
    assert time.monotonic() - began < _GRACE + 60, machine.story()
    assert not harness.wait_until_gone([supervisor])
    assert "ada (ssh) is logged in" in machine.changes(f"vm {name}", "ending")[-1]["why"]
    machine.log_out()


def test_a_vm_that_refuses_to_end_is_killed_within_the_grace(machine: LentMachine, pool: PoolStandIn) -> None:
    name = wait_vm(machine, pool)
    supervisor = machine.sessions()[name]
    family = harness.descendants(supervisor)
    os.kill(supervisor, signal.SIGSTOP)
    machine.log_in()
    began = time.monotonic()
    machine.wait("it is gone", lambda: machine.changes(f"vm {name}", "gone"))
    assert time.monotonic() - began < _GRACE + 60, machine.story()
    assert not harness.wait_until_gone(family)
    machine.log_out()


def test_the_owner_sees_what_runs_and_takes_the_machine_back_by_one_command(
    machine: LentMachine, pool: PoolStandIn, images: PoolImages
) -> None:
    name = wait_vm(machine, pool)
    shown = machine.call("grid", "show").stdout
    for words in ("is lent", images.public, "lab@1", name, "signed by a key that is trusted"):
        assert words in shown, shown
    (said,) = json.loads(machine.call("grid", "show", "--json").stdout)
    assert [vm["vm"] for vm in said["vms"]] == [name]

    began = time.monotonic()
    done = machine.call("grid", "pause")
    assert done.returncode == 0, done.stderr
    machine.wait("it is gone", lambda: not machine.sessions())
    assert time.monotonic() - began < 10, "at once"
    pool.wanted = {"lab": 1}
    time.sleep(8)
    assert machine.sessions() == {}
    assert "NOT lent" in machine.call("grid", "show").stdout
    assert machine.call("grid", "resume").returncode == 0
    wait_vm(machine, pool)


def test_a_second_coordinator_of_the_same_user_refuses(machine: LentMachine) -> None:
    done = machine.call("grid", "coordinator", "--state-dir", str(machine.state))
    assert done.returncode == 2
    assert f"a coordinator of yours runs already: process {machine.pid} on " in done.stderr
    assert done.stdout == "", "it lends nothing"


def test_a_killed_coordinator_takes_its_vms_along_and_the_next_one_cleans_up(
    machine: LentMachine, pool: PoolStandIn
) -> None:
    name = wait_vm(machine, pool)
    supervisor = machine.sessions()[name]
    family = harness.descendants(supervisor)
    machine.kill()
    assert not harness.wait_until_gone(family), "none runs unwatched"
    # Its store was a disk that went with its namespace: another one is there now, and the image comes again.
    machine.begin()
    machine.wait_change(f"vm {name}", "is lost")
    assert wait_vm(machine, pool) != name


def test_a_stopped_coordinator_looks_first_when_it_goes_on(machine: LentMachine) -> None:
    (name,) = machine.sessions()
    os.kill(machine.pid, signal.SIGSTOP)
    machine.log_in()
    time.sleep(_GRACE)
    os.kill(machine.pid, signal.SIGCONT)
    machine.wait("it is gone", lambda: machine.changes(f"vm {name}", "gone"))
    machine.log_out()


def test_a_tampered_version_starts_nothing_and_a_signed_newer_one_does(
    machine: LentMachine, pool: PoolStandIn, images: PoolImages
) -> None:
    images.add("2", tampered=True)
    pool.offered, pool.wanted = {"lab": "2"}, {"lab": 1}
    refused = machine.wait_change("image lab@2", "refused")
    assert "are not what was signed" in refused["why"]
    assert machine.sessions() == {}

    images.add("3")
    pool.offered = {"lab": "3"}
    machine.wait_change("image lab@3", "whole")
    name = wait_vm(machine, pool)
    session = json.loads((machine.inside(machine.coordinator / "s") / name / "session.json").read_text())
    assert session["image"] == "lab@3"


def test_a_disk_that_is_full_costs_what_nobody_wants_and_the_fetch_goes_on(
    machine: LentMachine, pool: PoolStandIn, images: PoolImages
) -> None:
    """Two versions of the three that it would hold by its quota."""
    store = machine.inside(machine.coordinator / "images")
    images.add("4")
    with (store / ".filler").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(MIB, shutil.disk_usage(store).free - 10 * MIB))
    came = pool.sent.get("lab/4/disk.raw", 0)
    pool.offered = {"lab": "4"}
    pool.wanted = {"lab": 1}
    full = machine.wait("the disk is full", lambda: [one for one in machine.changes("image") if "space" in one["why"]])
    assert "No space left" in full[-1]["why"]
    assert machine.wait_change("image lab@1", "dropped")["why"] == "the disk is full"
    machine.wait_change("image lab@4", "whole")
    assert pool.sent["lab/4/disk.raw"] - came <= DISK + 8 * MIB, "what had come was kept"
    pool.wanted = {}


def test_a_pool_that_is_away_is_in_nobodys_way(machine: LentMachine, pool: PoolStandIn) -> None:
    name = wait_vm(machine, pool) if not machine.sessions() else next(iter(machine.sessions()))
    pool.is_away = True
    machine.wait_change("pool", "does not answer")
    assert name in machine.sessions()
    pool.is_away = False
    heard = len(pool.reports)
    machine.wait("it reports again", lambda: len(pool.reports) > heard)


def test_told_to_end_it_has_its_vms_end_and_leaves_nothing(machine: LentMachine, pool: PoolStandIn) -> None:
    url = f"https://127.0.0.1:{pool.port}"
    assert url in machine.call("grid", "show", "--json").stdout
    assert machine.end() == 0, machine.story()
    assert not list((machine.coordinator / "s").glob("g*"))
    assert url not in machine.call("grid", "show", "--json").stdout
