"""A lent machine whose owner has jobs wait for their VMs: suspended when she comes, and going on when she has left.

The guest is the desktop, frozen when it was ready. It needs no way out for what it does here, so the state that was
frozen without one does.
"""

from __future__ import annotations

import json
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import harness
import memory
import pool_stand_in
import pytest
from harness import Console
from lent_machine import LentMachine
from pool_images import PoolImages
from pool_stand_in import PoolStandIn
from strange import refusal

_UP = 1800.0  # seconds: it gives way to all others here, whose guests take every CPU for minutes
_MARK = secrets.token_hex(20)
_NOISE = "head -c 64M /dev/urandom >/dev/shm/noise"
"""What takes a while to be written."""


@pytest.fixture(scope="module")
def images(work: Path) -> PoolImages:
    """The desktop's image, which joins whatever pool."""
    images = PoolImages(work)
    place = images.folder / "demo" / "1"
    place.parent.mkdir(parents=True)
    subprocess.run(["cp", "--recursive", "--sparse=always", str(harness.DEMO), str(place)], check=True)
    harness.open_up(place)
    with (place / "image.toml").open("a") as described:
        described.write('\njoin_hook = ["/bin/true"]\n')
    record = place / "warm" / "warm.json"
    frozen = json.loads(record.read_text())
    frozen["needs"]["egress"] = "ipv4"
    record.chmod(0o600)
    record.write_text(json.dumps(frozen))
    images.sign("demo", "1")
    return images


@pytest.fixture(scope="module")
def pool(work: Path, images: PoolImages) -> Iterator[PoolStandIn]:
    with pool_stand_in.serving(work, images.folder) as pool:
        pool.offered, pool.wanted = {"demo": "1"}, {"demo": 1}
        yield pool


@pytest.fixture(scope="module")
def machine(work: Path, pool: PoolStandIn, images: PoolImages) -> Iterator[LentMachine]:
    """It lends while nobody is logged in, and has the image already."""
    machine = LentMachine(work / "m", harness.SIF)
    pool.enrol(machine.state)
    machine.holds(images.folder / "demo" / "1", str(pool.answer("/v1/images", b"")["images"][0]["manifest"]))
    machine.grants(f"""\
egress_allow = ["tcp://{pool_stand_in.COLLECTOR}"]

[owner]
when_used = []
memory = "256M"
grace = "10m"

[grid]
trusted_keys = ["{images.public}"]
cpus = 2
memory = "2G"
lease = "1h"
rate = "20M"
""")
    with machine.lent():
        yield machine


@pytest.fixture(scope="module")
def vm(machine: LentMachine) -> str:
    """The one VM that all of this is about."""
    machine.begin()
    name = str(machine.wait_change("vm", "joined", seconds=_UP)["subject"]).removeprefix("vm ")
    shell = Console(machine.vm(name))
    shell.run(f"echo {_MARK} | sudo tee /var/tmp/mark >/dev/shm/mark; sync; {_NOISE}")
    shell.hang_up()
    assert marked(machine) == []
    return name


def marked(machine: LentMachine) -> list[Path]:
    """The files of its VMs that have anything of what the guest has on its disk and in its memory in the clear."""
    files = [path for name in ("s", "vms") for path in (machine.coordinator / name).rglob("*")]
    plain = [path for path in files if path.is_file() and not path.is_symlink()]
    assert any(path.stat().st_size > len(_MARK) for path in plain)
    return [path for path in plain if memory.file_holds(path, {"mark": _MARK.encode()})]


def saved(machine: LentMachine) -> Path:
    """Where its VMs are suspended to."""
    return machine.coordinator / "vms" / "saved"


def test_an_owner_who_logs_in_while_a_vm_is_suspended_finds_it_in_a_file_that_nobody_opens(
    machine: LentMachine, vm: str
) -> None:
    assert machine.call("grid", "pause", "--in-order").returncode == 0
    machine.wait_change(f"vm {vm}", "suspending")
    machine.log_in()
    machine.wait_change(f"vm {vm}", "suspended", seconds=_UP)
    assert machine.sessions() == {}
    file = saved(machine) / f"{vm}.7lbd"
    assert file.stat().st_mode & 0o777 == 0o600
    assert marked(machine) == []
    refusal(machine.call("resume", str(file)), 2, ["a passphrase is needed"])

    assert machine.call("grid", "resume").returncode == 0
    told = ("NOT lent", f"{vm}  demo@1  suspended")
    machine.wait("it is hers", lambda: all(words in machine.call("grid", "show").stdout for words in told))


def test_an_owner_who_logs_in_while_a_vm_goes_on_finds_it_gone_and_its_file_as_it_was(
    machine: LentMachine, vm: str
) -> None:
    file = saved(machine) / f"{vm}.7lbd"
    before = file.stat()
    machine.log_out()
    machine.wait("it begins to go on", machine.sessions)
    machine.log_in()
    machine.wait_change(f"vm {vm}", "suspended", 2, seconds=_UP)
    assert machine.sessions() == {}
    assert len(machine.changes(f"vm {vm}", "joined")) == 1, "it was not up yet"
    after = file.stat()
    assert (after.st_ino, after.st_size, after.st_mtime_ns) == (before.st_ino, before.st_size, before.st_mtime_ns)


def test_a_coordinator_that_is_begun_anew_has_the_same_vm_go_on_where_it_was(machine: LentMachine, vm: str) -> None:
    machine.kill()
    machine.log_out()
    machine.begin()
    machine.wait_change(f"vm {vm}", "is suspended")
    machine.wait_change(f"vm {vm}", "joined", 2, seconds=_UP)
    assert machine.sessions().keys() == {vm}
    machine.wait("what it has gone on from is gone", lambda: not (saved(machine) / f"{vm}.7lbd").exists())
    shell = Console(machine.vm(vm))
    assert shell.run("cat /dev/shm/mark") == shell.run("cat /var/tmp/mark") == _MARK
    shell.hang_up()


def test_a_coordinator_that_is_killed_while_a_vm_is_written_leaves_nothing_of_it_and_lends_on(
    machine: LentMachine, vm: str
) -> None:
    family = harness.descendants(machine.sessions()[vm])
    machine.log_in()
    machine.wait("it is being written", lambda: list(saved(machine).glob(".*.new")), _UP, pause=0.02)
    machine.kill()
    assert not harness.wait_until_gone(family), "none runs unwatched"
    assert not (saved(machine) / f"{vm}.7lbd").exists(), "the half of it is no VM"
    machine.begin()
    machine.wait_change(f"vm {vm}", "is lost")
    assert not [path.name for path in saved(machine).iterdir() if ".7lbd" in path.name]
    machine.log_out()
    (name,) = machine.wait("another VM for the job", machine.sessions)
    assert name != vm
    assert machine.end(_UP) == 0, machine.story()
    assert not list((machine.coordinator / "s").glob("g*"))
