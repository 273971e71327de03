"""A machine that belongs to somebody, in a pool of the real HTCondor: by day its owner's, by night the pool's.

The configuration is the rendered one, and the real probe looks into a made-up tree of a node.
Nobody can move this machine's clock, so it is the hours that are moved: `seven` is some seconds ahead.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import condor
import harness
import pytest
from condor import CondorPool

_GRACE = 10  # seconds
_WITHIN = 240  # seconds until the pool has noticed; on a busy machine a probe alone takes ten
_ALWAYS = "daily 00:00-24:00"
# One that does not want to go.
_STUBBORN = "trap : TERM; while [ ! -e {done} ]; do date +%s >>{alive}; sleep 0.3; done"


@dataclass
class Desk:
    """The machine of somebody: its node's tree, its site's file, and the job of somebody else."""

    site: Path
    node: Path
    pool: CondorPool | None = None

    def is_lent(self, hours: str) -> None:
        """While somebody is logged in, at these hours."""
        text = f'[owner]\nwhen_used = ["{hours}"]\nmemory = "1G"\ngrace = "{_GRACE}s"\n'
        new = self.site / "new.toml"
        new.write_text(text)
        new.replace(self.site / "7lbd.toml")

    def log_in(self, user: str = "ada") -> None:
        """By ssh, as logind writes it down."""
        session = f"UID=1000\nUSER={user}\nSTATE=active\nREMOTE=1\nTYPE=tty\nCLASS=user\nSERVICE=sshd\nTTY=pts/3\n"
        (self.node / "run/systemd/sessions/7").write_text(session)

    def log_out(self) -> None:
        (self.node / "run/systemd/sessions/7").unlink()

    def command(self) -> Path:
        """The site's own `7lbd` command, which shows this tree for the node's."""
        text = harness.run("render", "command", sif=self.site / "7lbd.sif").stdout
        assert "--bind=/:/node" in text
        path = self.site / "7lbd"
        path.write_text(text.replace("--bind=/:/node", f"--bind={self.node}:/node"))
        path.chmod(0o755)
        return path


@pytest.fixture(scope="module")
def desk(site: Path, work: Path) -> Iterator[Desk]:
    """In a pool of its own."""
    desk = Desk(site, work / "node")
    for folder in ("usr", "run/systemd/sessions"):
        (desk.node / folder).mkdir(parents=True)
    desk.is_lent(_ALWAYS)
    desk.command()
    rendered = harness.run("render", "condor-node", sif=site / "7lbd.sif").stdout
    configuration = work / "70-7lbd"
    configuration.write_text(f"{rendered}\nSTARTD_CRON_SEVENLBD_PERIOD = 2s\n")
    options = {"LOCAL_CONFIG_FILE": str(configuration)}
    try:
        with condor.running(work / "p", memory_mb=4000, options=options) as pool:
            desk.pool = pool
            yield desk
    finally:  # the site's folder is the others', too
        for name in ("7lbd.toml", "7lbd"):
            (site / name).unlink()


def told(pool: CondorPool, *names: str, wanted: list[str]) -> None:
    """Wait until the node advertises this."""
    deadline = time.monotonic() + _WITHIN
    while (found := pool.slots(*names, constraint="PartitionableSlot")) != [wanted]:
        assert time.monotonic() < deadline, f"{found}, not {wanted}:\n{pool.story()}"
        time.sleep(0.5)


def last_breath(file: Path) -> float:
    """When the job was last seen alive: wait until it is not."""
    while time.time() - (breath := float(file.read_text().split()[-1])) < 3:
        time.sleep(0.3)
    return breath


def test_the_grids_work_is_off_the_machine_at_seven_and_comes_back(desk: Desk) -> None:
    pool = desk.pool
    assert pool
    told(pool, "Memory", "SevenLbdOwnerAllows", "OwnerLoggedIn", wanted=["2976", "true", "false"])
    done, alive, log = pool.jobs / "done", pool.jobs / "alive", pool.jobs / "owner.log"
    job = pool.submit(
        "executable = /bin/sh\ntransfer_executable = false\nrequest_memory = 50M\nrequest_disk = 1M\nlog = owner.log\n"
        f"""arguments = "-c '{_STUBBORN.format(done=done, alive=alive)}'"\n"""
    )
    pool.wait_begun(job, log)

    # Somebody logs in at 6:59 and stays.
    seven = (int(time.time()) // 60 + 1) * 60
    seven += 60 if seven - time.time() < _GRACE + 30 else 0
    desk.is_lent(f"daily {_clock(seven - 3600)}-{_clock(seven)}")
    desk.log_in()
    told(pool, "OwnerLoggedIn", "SevenLbdOwnerUntil", wanted=["true", str(seven)])
    runs = pool.status(job) == condor.RUNNING
    assert runs or time.time() > seven - _GRACE, "it is night"
    pool.wait(job, condor.IDLE, timeout=seven - time.time() + _WITHIN)
    assert last_breath(alive) <= seven + 4, "at seven it is gone, though it did not want to go"

    # Gone for lunch.
    desk.log_out()
    pool.wait_begun(job, log, 2)

    # Back, by ssh, in the middle of the day.
    desk.log_in()
    pool.wait(job, condor.IDLE, timeout=_WITHIN)

    # It is five, and somebody is still there.
    desk.is_lent(_ALWAYS)
    pool.wait_begun(job, log, 3)
    done.touch()
    assert pool.wait(job, timeout=_WITHIN) == condor.COMPLETED
    assert pool.ad(job, "ExitCode", "NumJobStarts") == ["0", "3"]


def _clock(at: float) -> str:
    return time.strftime("%H:%M", time.localtime(at))
