"""A desktop grid by its slides: jobs that name a machine's image, jobs that name none, and owners who come first.

The pool is the real HTCondor, on the far side of a site's network, with the pool's service beside its queue. On the
near side are two machines that are lent, each by a user of its own, with a coordinator, a key and a home, and images
that another key has signed: what the one may run the other may not. Their guests are the worker image's. A machine's
clock is its time zone.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import condor
import harness
import other_account
import pytest
import sitenet
import submit_node
import workers
from condor import CondorPool
from lent_machine import LentMachine
from other_account import OtherAccount
from sitenet import SiteNet
from siteserver import LICENSE

MIB = 1 << 20
_PORT, _POLL = 9680, 5
_UP = 1200.0  # seconds, for a guest that boots in emulation, on a slow machine beside others
_COUNTS = 10  # a job's work, in seconds of its own
_LEASE = 15  # seconds that a queue waits for a machine that was lost
_GRACE = 300.0
_TAMPERED = 3 * MIB  # into the disk
_LOST = "lost"
_CHECKPOINTS = "when_to_transfer_output = ON_EXIT_OR_EVICT\ntransfer_output_files = counted"
# Counts, then says what it has counted, what came with it, from where it went on, and where. `lost`: it would not come
# to an end where it begins first.
_JOB = """#!/bin/sh
touch counted
began=$(wc -l <counted) n=$began end=$((began + $1))
[ "$2" != lost ] || ! grep -q '^NumJobStarts = 0$' "$_CONDOR_JOB_AD" || end=100000
while [ "$n" -lt "$end" ]; do
    n=$((n + 1))
    echo "$n" >>counted
    sleep 1
done
awk '{ sum += $1 } END { print NR, sum }' counted
sha256sum <given | cut -c1-64
echo "$began"
grep -h '^SevenLbdImage = ' "$_CONDOR_MACHINE_AD" | cut -d'"' -f2
"""


class PoolSide:
    """The pool's host: queue and collector, the repository, and the service that machines ask."""

    def __init__(self, folder: Path, net: SiteNet, pool: CondorPool) -> None:
        self.folder, self.net, self.pool = folder, net, pool
        self.images = folder / "images"
        self.url = f"https://{LICENSE}:{_PORT}"
        self._service: subprocess.Popen[bytes] | None = None
        submit_node.site(folder, "condor")
        toml = folder / "site" / "7lbd.toml"
        table = f'[pool]\nlisten = "{LICENSE}:{_PORT}"\nnames = ["{LICENSE}"]\npoll = "{_POLL}s"\n'
        toml.write_text(f'image_dirs = ["{self.images}"]\n{toml.read_text()}{table}')

    @property
    def env(self) -> dict[str, str]:
        path = f"{self.folder}/site:{self.pool.env['PATH']}"
        return harness.environment({**self.pool.env, "PATH": path, "SEVENLBD_STATE_DIR": str(self.folder / "state")})

    def call(self, *words: str) -> str:
        """A command of the pool's administrator's."""
        call = [*self.net.beyond(), "7lbd", *words]
        done = subprocess.run(call, env=self.env, capture_output=True, text=True, timeout=_UP, check=False)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    def begin(self) -> None:
        """Start the service, again."""
        with (self.folder / "service.log").open("ab") as log:
            call = [*self.net.beyond(), "7lbd", "grid", "pool"]
            self._service = subprocess.Popen(call, env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        knock = f"until echo >/dev/tcp/{LICENSE}/{_PORT}; do sleep 0.2; done 2>/dev/null"
        subprocess.run([*self.net.beyond(), "bash", "-c", knock], check=True, timeout=_UP)

    def end(self) -> None:
        """At once, by SIGKILL: it is in nobody's way."""
        if self._service:
            for process in harness.descendants(self._service.pid):
                with suppress(ProcessLookupError):  # it may have gone with another
                    os.kill(process, signal.SIGKILL)
            self._service.kill()
            self._service.wait()

    def key(self, name: str) -> str:
        """One that signs images: its public half."""
        self.call("image", "keygen", str(self.folder / name))
        return (self.folder / f"{name}.pub").read_text().strip()

    def publish(self, name: str, version: str, key: str, *, tampered: bool = False) -> None:
        """The worker image, signed under this name, and what jobs of that name get from now on."""
        place = self.images / name / version
        place.mkdir(parents=True)
        for file in ("disk.qcow2", *(path.name for path in workers.IMAGE.glob("*") if path.name != "disk.qcow2")):
            copied = ["cp", "--reflink=auto", "--sparse=always", str(workers.IMAGE / file), str(place / file)]
            subprocess.run(copied, check=True)
        described = (place / "image.toml").read_text().splitlines()
        kept = [line for line in described if not line.startswith(("name =", "version ="))]
        (place / "image.toml").write_text("\n".join([f'name = "{name}"', f'version = "{version}"', *kept, ""]))
        self.call(
            "image", "sign", f"{name}@{version}", "--image-dir", str(self.images), "--key", f"{self.folder}/{key}.key"
        )
        if tampered:
            disk = place / "disk.qcow2"
            disk.chmod(0o600)
            with disk.open("r+b") as opened:
                opened.seek(_TAMPERED)
                opened.write(b"tampered")
        self.call("image", "publish", f"{name}@{version}", "--image-dir", str(self.images))

    def story(self) -> str:
        return (self.folder / "service.log").read_text(errors="replace")[-4000:]


@dataclass
class Job:
    """One in the queue, and what it was given."""

    id: str
    folder: Path
    given: bytes

    def end(self) -> tuple[str, int]:
        """On which image it has ended, and from where it went on; what it has printed is right, and there once."""
        counted, came, began, image = (self.folder / "out").read_text().splitlines()
        lines, total = map(int, counted.split())
        assert lines == int(began) + _COUNTS
        assert total == lines * (lines + 1) // 2, "from one to the last, each once"
        assert came == hashlib.sha256(self.given).hexdigest()
        return image, int(began)


class Grid:
    """All of it."""

    def __init__(self, side: PoolSide, lab: LentMachine, sim: LentMachine) -> None:
        self.side, self.pool, self.lab, self.sim = side, side.pool, lab, sim

    def submit(self, name: str, how: str, *lines: str) -> Job:
        """As in the slides' submit file: `+vm_name = "..."`, or none."""
        folder, given = self.pool.jobs / name, secrets.token_bytes(100_000)
        folder.mkdir()
        (folder / "job.sh").write_text(_JOB)
        (folder / "given").write_bytes(given)
        description = [
            f"executable = {folder}/job.sh",
            f"arguments = {_COUNTS} {how}",
            f"initialdir = {folder}",
            "output = out\nerror = err\nlog = log",
            "should_transfer_files = YES\nwhen_to_transfer_output = ON_EXIT",
            'transfer_input_files = given\ntransfer_output_files = ""',
            "request_cpus = 1\nrequest_memory = 64MB\nrequest_disk = 20MB",
            *lines,
        ]
        return Job(self.pool.submit("\n".join(description)), folder, given)

    def wait(self, job: Job, *states: int, timeout: float = _UP) -> None:
        """Wait until a job is so far."""
        try:
            self.pool.wait(job.id, *states, timeout=timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.story()}") from None

    def wait_begun(self, job: Job) -> None:
        """Wait until it is at work: only from then on is it known that it has been."""
        try:
            self.pool.wait_begun(job.id, job.folder / "log", timeout=_UP)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.story()}") from None

    def wait_ended(self, job: Job) -> None:
        """Wait until it has ended well, and once."""
        self.wait(job)
        wanted = [str(condor.COMPLETED), "0", "1"]
        names = ("JobStatus", "ExitCode", "NumJobCompletions")
        self.lab.wait(f"{names} of {job.id} are {wanted}", lambda: self.pool.ad(job.id, *names) == wanted)

    def story(self) -> str:
        """For a failed assertion."""
        said = [self.side.story(), self.lab.story(), self.sim.story()]
        return "\n---\n".join([*said, self.pool.attempt("condor_status").stdout])


def lent(side: PoolSide, name: str, public: str, account: OtherAccount | None = None) -> LentMachine:
    """A machine of somebody's: lent at night, and while nobody is logged in. It belongs to the pool by a code."""
    folder = side.folder / name
    folder.mkdir()
    machine = LentMachine(folder, harness.SIF, side.net.prefix, apart=False, account=account)
    machine.grants(f"""\
egress_allow = ["tcp://{side.pool.address}"]
[owner]
when_used = ["daily 17:00-07:00"]
memory = "256M"
grace = "{_GRACE:.0f}s"
[grid]
trusted_keys = ["{public}"]
images = ["{name}"]
memory = "1G"
cpus = 2
idle = "1h"
lease = "1h"
""")
    code = side.call("grid", "pool", "code").split()[-1]
    done = machine.call("grid", "enrol", side.url, "--code", code, "--machine", name, "--state-dir", str(machine.state))
    assert done.returncode == 0, done.stderr
    return machine


@contextmanager
def pool_side(work: Path) -> Iterator[PoolSide]:
    """The pool, beyond the site's network, and its service."""
    (work / "net").mkdir()
    options = {f"ALLOW_ADVERTISE_{kind}": "*@workers.pool.test" for kind in ("STARTD", "MASTER")}
    with (
        sitenet.up(work / "net", accounts=True) as net,
        condor.running(work / "p", nodes=(), options=options, host=LICENSE, prefix=net.beyond()) as pool,
    ):
        side = PoolSide(work / "s", net, pool)
        try:
            yield side
        finally:
            side.end()


@pytest.fixture(scope="module")
def grid(work: Path) -> Iterator[Grid]:
    subprocess.run([harness.REPO / "scripts" / "further-guest", "worker"], check=True, timeout=1800)
    before = harness.my_processes()
    work.chmod(0o711)
    with pool_side(work) as side, other_account.on(side.net.pid, work / "bob") as bob:
        public = {name: side.key(name) for name in ("lab", "sim")}
        for name in public:
            side.publish(name, "1", name)
        side.begin()
        lab, sim = lent(side, "lab", public["lab"]), lent(side, "sim", public["sim"], bob)
        try:
            yield Grid(side, lab, sim)
        finally:
            lab.clean_up()
            sim.clean_up()
    assert not harness.wait_until_gone(harness.my_processes() - before), "nothing is left of it"


def test_jobs_run_in_the_vms_that_they_name_on_machines_that_nobody_needs_and_each_ends_once(grid: Grid) -> None:
    lab, sim = grid.lab, grid.sim
    plain = no_vm_begins_for_a_job_that_names_none(grid)
    first, second, beside = night_falls(grid, plain)
    grid.side.publish("sim", "2", "sim", tampered=True)
    # The pool offers it some seconds later: until then a VM of the version before may begin.
    sim.wait_change("image sim@2", "refused", seconds=_UP)
    a_machine_is_killed(grid, second)
    at_seven_they_are_gone(grid, first, beside)
    a_tampered_version_starts_nothing_and_a_signed_newer_one_does(grid, second)
    the_service_is_killed_and_in_nobodys_way(grid, second, beside)
    assert lab.sessions() == {}, "it is day, and she is there"
    assert grid.pool.status(first.id) == condor.IDLE, "its job waits for its machine"

    at_five_they_are_back(grid, first)
    for job in (plain, first, second, beside):
        grid.wait_ended(job)
    image, went_on_from = first.end()
    assert (image, went_on_from > 0) == ("lab@1", True), "what it had when it was told to go is not lost"
    assert second.end() == beside.end() == ("sim@3", 0)
    assert plain.end() in [("lab@1", 0), ("sim@1", 0)]
    assert [grid.pool.starts(job.id) for job in (first, second, beside)] == [2, 2, 2]
    one_who_sits_there_takes_all_of_it_back(grid)
    assert lab.end() == sim.end() == 0, grid.story()


def no_vm_begins_for_a_job_that_names_none(grid: Grid) -> Job:
    """Though two machines are lent, with their images ahead of need."""
    plain = grid.submit("plain", "")
    for machine in (grid.lab, grid.sim):
        machine.set_clock("01:00:00")
        machine.begin()
    grid.lab.wait_change("image lab@1", "whole", seconds=_UP)
    grid.sim.wait_change("image sim@1", "whole", seconds=_UP)
    kept = [path for path in grid.lab.coordinator.joinpath("images").rglob("disk.qcow2") if path.is_file()]
    clear = workers.IMAGE / "disk.qcow2"
    assert [path.read_bytes()[:4] for path in kept] == [b"LUKS"] != [clear.read_bytes()[:4]], "with its user's own key"
    assert grid.lab.sessions() == grid.sim.sessions() == {}
    assert grid.pool.status(plain.id) == condor.IDLE
    return plain


def night_falls(grid: Grid, plain: Job) -> tuple[Job, Job, Job]:
    """A job of each image, and beside the first one that names none."""
    first = grid.submit("first", _LOST, '+vm_name = "lab"', _CHECKPOINTS)
    second = grid.submit("second", _LOST, '+vm_name = "sim"', f"job_lease_duration = {_LEASE}")
    grid.wait_begun(first)
    # At its first start only. A wish (rank) would not do: for a moment the plain job may hold what is left there.
    there = 'requirements = NumJobStarts > 0 || TARGET.SevenLbdImage == "lab@1"'
    beside = grid.submit("beside", _LOST, there)
    for job in (beside, second):
        grid.wait_begun(job)
    grid.wait(plain)
    assert "lab-1" in grid.pool.ad(beside.id, "RemoteHost")[0]
    return first, second, beside


def at_seven_they_are_gone(grid: Grid, *jobs: Job) -> None:
    """The owner logs in at 6:55, and stays. Her VM is suspended, and its jobs are the queue's again before that."""
    lab = grid.lab
    (name,) = lab.sessions()
    supervisor = lab.sessions()[name]
    family = harness.descendants(supervisor)
    for job in jobs:
        grid.wait(job, condor.RUNNING)
    lab.set_clock("06:54:57")
    lab.log_in()
    lab.wait_change(f"vm {name}", "suspending")
    lab.wait("its VM is gone", lambda: not lab.sessions(), _UP)
    gone = lab.wait_change(f"vm {name}", "suspended", seconds=_UP)
    assert lab.local(gone["at"]) <= "07:00:00", lab.story()
    assert not harness.wait_until_gone([supervisor, *family])
    lab.set_clock("07:00:01")
    for job in jobs:
        # RemoteHost is of one that is at work.
        lab.wait(f"{job.id} is not there", partial(is_elsewhere, grid, job))


def is_elsewhere(grid: Grid, job: Job) -> bool:
    return "lab-1" not in grid.pool.ad(job.id, "RemoteHost")[0]


def a_machine_is_killed(grid: Grid, second: Job) -> None:
    """With its VM, in which a job is at work."""
    sim = grid.sim
    grid.wait(second, condor.RUNNING)
    (name,) = sim.sessions()
    sim.kill()
    sim.begin()
    sim.wait_change(f"vm {name}", "is lost")


def a_tampered_version_starts_nothing_and_a_signed_newer_one_does(grid: Grid, second: Job) -> None:
    """The job that was lost with its machine waits for an image that is as it was signed."""
    sim = grid.sim
    refused = sim.wait_change("image sim@2", "refused")
    assert "are not what was signed" in refused["why"]
    grid.wait(second, condor.IDLE)
    grid.side.publish("sim", "3", "sim")
    assert sim.sessions() == {}, sim.story()
    sim.wait_change("image sim@3", "whole", seconds=_UP)


def the_service_is_killed_and_in_nobodys_way(grid: Grid, *jobs: Job) -> None:
    """While jobs run that it has brought a VM for."""
    for job in jobs:
        grid.wait(job, condor.RUNNING, condor.COMPLETED)
    before = grid.sim.sessions()
    grid.side.end()
    for machine in (grid.lab, grid.sim):
        machine.wait_change("pool", "does not answer")
    assert grid.sim.sessions() == before != {}
    grid.side.begin()


def at_five_they_are_back(grid: Grid, first: Job) -> None:
    """The owner is still there; her VM goes on where it was, and the job from what it had brought back."""
    lab = grid.lab
    name = lab.changes("vm ", "suspended")[-1]["subject"]
    lab.set_clock("16:59:58")
    lab.wait_change(name, "starting", 2, _UP)
    lab.wait_change(name, "busy", 2, _UP)
    grid.wait(first)


def one_who_sits_there_takes_all_of_it_back(grid: Grid) -> None:
    """By a word, whoever's the coordinators are."""
    calls = grid.lab.call
    for lent, verb in ((True, "pause"), (False, "resume"), (True, "")):
        shown = json.loads(calls("grid", "show", "--json").stdout)
        assert [one["lent"] for one in shown] == [lent, lent], shown
        if verb:
            done = calls("grid", verb)
            assert done.returncode == 0, done.stderr
