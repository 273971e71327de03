"""The pool's service out of the SIF, as an ordinary user, beside the real HTCondor: its queue, its tokens, its page."""

from __future__ import annotations

import base64
import http.client
import json
import os
import signal
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import condor
import harness
import pool_stand_in
import pytest
import submit_node
from condor import CondorPool
from lent_machine import LentMachine
from playwright.sync_api import Browser, expect
from pool_images import DISK, PoolImages
from web import Visitor

READY_SECONDS = harness.PATIENCE
MARKUP = "<img src=x onerror=alert(1)><script>alert(2)</script>"
# What a machine does, by the client that machines have: words in, JSON out.
ASKS = """
import json, sys
from dataclasses import asdict
from pathlib import Path
from sevenlbd.outside.grid.client import PoolClient
from sevenlbd.outside.grid.protocol import WorkerOrder
from sevenlbd.outside.grid.machine_report import Owner, Report, RunningVm, VmPhase, HeldImage
from sevenlbd.base.errors import Refusal
machine, verb = PoolClient(Path(sys.argv[1])), sys.argv[2]
try:
    if verb == "waiting": said = asdict(machine.waiting())
    elif verb == "worker": said = asdict(machine.worker(WorkerOrder(sys.argv[3], 1, resumes=True)))
    elif verb == "report":
        vms = (RunningVm(1, "blank", "1", VmPhase.BUSY, 5.0),)
        held = (HeldImage("blank", "1", 5),)
        said = asdict(machine.report(Report(Owner.ABSENT, True, 2, vms, held, sys.argv[3], 5 << 30, 3, 1)))
    else:
        told = machine.images()
        (image,) = [one for one in told.images if one.name == sys.argv[3]]
        said = {}
        for file in image.files:
            got = b"".join(machine.file(image, file.name, 0, file.size, told.ticket)) if file.size else b""
            said[file.name] = [file.size, __import__("hashlib").sha256(got).hexdigest()]
except Refusal as refusal:
    said = {"refused": type(refusal).__name__, "what": refusal.what, "hint": refusal.hint}
print(json.dumps(said))
"""


@dataclass
class Grid:
    """The pool's host, its service, and the folder of its machines."""

    folder: Path
    pool: CondorPool
    port: int
    service: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def env(self) -> dict[str, str]:
        """What the pool's administrator has."""
        return harness.environment(
            {
                **self.pool.env,
                "PATH": f"{self.folder}/site:{self.pool.env['PATH']}",
                "SEVENLBD_STATE_DIR": self.state("pool"),
            }
        )

    def state(self, whose: str) -> str:
        return str(self.folder / whose)

    def call(self, *words: str, code: int = 0, whose: str = "pool") -> str:
        """A command of the administrator's, or of a machine's user."""
        done = subprocess.run(
            ["7lbd", *words], capture_output=True, text=True, timeout=harness.PATIENCE, check=False,
            env={**self.env, "SEVENLBD_STATE_DIR": self.state(whose)},
        )  # fmt: skip
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr, done.stderr
        return done.stdout

    def begin(self) -> None:
        """Start the service, again."""
        with (self.folder / "service.log").open("ab") as log:
            self.service = subprocess.Popen(
                ["7lbd", "grid", "pool"],
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + READY_SECONDS
        while self.get("/healthz")[0] != 200:
            assert self.service.poll() is None, self.story()
            assert time.monotonic() < deadline, self.story()
            time.sleep(0.2)

    def end(self, number: signal.Signals) -> int:
        """End it; returns its exit code."""
        for process in harness.descendants(self.service.pid) if number is signal.SIGKILL else ():
            with suppress(ProcessLookupError):  # it may have gone with another
                os.kill(process, number)
        self.service.send_signal(number)
        return self.service.wait(harness.PATIENCE)

    def story(self) -> str:
        return (self.folder / "service.log").read_text(errors="replace")

    def get(self, path: str) -> tuple[int, str]:
        """What the administrator's token gets; 0 when nobody answers."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        line = http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=20)
        try:
            line.request("GET", path, headers={"Authorization": f"Bearer {self.admin}"})
            answer = line.getresponse()
            return answer.status, answer.read().decode()
        except OSError:
            return 0, ""
        finally:
            line.close()

    @property
    def admin(self) -> str:
        file = Path(self.state("pool")) / "grid-pool" / "admin-token"
        return file.read_text().strip() if file.exists() else ""

    def enrol(self, machine: str, *options: str) -> None:
        """Make a machine belong to the pool, as its user would."""
        line = self.call("grid", "pool", "code").strip().splitlines()[-1].split()
        assert line[:4] == ["7lbd", "grid", "enrol", self.url]
        self.call(*line[1:], "--machine", machine, *options, whose=machine)

    def ask(self, machine: str, *words: str) -> Any:
        """A machine asks the service."""
        place = Path(self.state(machine)) / "grid"
        call = [
            "apptainer",
            "exec",
            "--bind",
            str(self.folder),
            str(harness.SIF),
            "python3",
            "-I",
            "-c",
            ASKS,
            str(place),
        ]
        done = subprocess.run([*call, *words], capture_output=True, text=True, timeout=harness.PATIENCE, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def demands(self, machine: str, *, jobs: int) -> list[dict[str, Any]]:
        """What waits, as soon as so many jobs do: those that were removed are gone from the queue a moment later."""
        deadline = time.monotonic() + harness.PATIENCE
        while True:
            told = self.ask(machine, "waiting")
            assert "refused" not in told, f"{told}\n{self.story()}"
            if sum(demand["jobs"] for demand in told["demands"]) == jobs:
                return list(told["demands"])
            assert time.monotonic() < deadline, f"{told}\n{self.pool.call('condor_q', '-af', 'ClusterId', 'vm_name')}"
            time.sleep(1)


@pytest.fixture(scope="module")
def grid(work: Path, blank_image: Path) -> Iterator[Grid]:
    """A pool without nodes, a signed image, and the service."""
    before = harness.my_processes()
    place, images = work / "g", work / "g" / "images"
    place.mkdir()
    (port,) = harness.free_ports(1)
    keys = ["image", "keygen", str(place / "site")]
    assert harness.run(*keys).returncode == 0
    add = [
        "image",
        "add",
        str(blank_image / "disk.qcow2"),
        "--name",
        "blank",
        "--version",
        "1",
        "--image-dir",
        str(images),
    ]
    for words in (
        [*add, "--os", "linux", "--firmware", "bios", "--memory", "128M", "--cpus", "1"],
        ["image", "sign", "blank@1", "--image-dir", str(images), "--key", str(place / "site.key")],
        ["image", "publish", "blank@1", "--image-dir", str(images)],
    ):
        done = harness.run(*words)
        assert done.returncode == 0, f"{words}: {done.stderr}"
    submit_node.site(place, "condor", disk="100M")
    toml = place / "site" / "7lbd.toml"
    table = f'[pool]\nlisten = "127.0.0.1:{port}"\nnames = ["127.0.0.1"]\n'
    toml.write_text(f'image_dirs = ["{images}"]\n{toml.read_text()}{table}')
    workers = "*@workers.pool.test"
    options = {"ALLOW_ADVERTISE_STARTD": workers, "ALLOW_ADVERTISE_MASTER": workers}
    with condor.running(work / "p", nodes=(), options=options) as pool:
        running = Grid(place, pool, port, subprocess.Popen(["true"]))
        running.begin()
        try:
            running.enrol("lab-01")
            yield running
        finally:
            assert running.end(signal.SIGTERM) in (0, None), running.story()
    assert not harness.wait_until_gone(harness.my_processes() - before)


def submit(grid: Grid, vm_name: str, more: str = "") -> str:
    return grid.pool.submit(f"executable = /bin/true\n+vm_name = {vm_name}\n{more}\n")


def test_jobs_that_name_an_image_are_told_and_strangers_words_are_not(grid: Grid) -> None:
    size = "request_memory = 2048\nrequest_cpus = 2\nrequest_disk = 1048576"
    jobs = [submit(grid, '"blank"', f"{size}\nqueue 3")]
    hostile = [
        '"../../etc/passwd"',
        '"a\\"b"',
        '"no-such"',
        "7",
        '"blank,x"',
        'strcat("x", "\\n")',
        f'"{"x" * 5000}"',
        '""',
    ]
    jobs += [submit(grid, name) for name in hostile]
    jobs.append(submit(grid, '"BLANK"', "request_memory = ifThenElse(true, 100, 7)"))
    jobs.append(submit(grid, '"blank"', 'request_memory = strcat("2", "000 blank 1 1 1")'))
    try:
        told = grid.demands("lab-01", jobs=5)
        assert {demand["vm_name"] for demand in told} == {"blank"}
        assert sum(demand["jobs"] for demand in told) == 5
        first = {"vm_name": "blank", "jobs": 3, "cpus": 2, "memory": 2 << 30, "disk": 1 << 30}
        assert told[0] == first
        assert 100 << 20 in [demand["memory"] for demand in told]
    finally:
        for job in jobs:
            grid.pool.attempt("condor_rm", job.partition(".")[0])


def test_a_workers_token_lets_it_advertise_and_do_nothing_else(grid: Grid, tmp_path: Path) -> None:
    given = grid.ask("lab-01", "worker", "blank")
    assert given["pool"] == {"collector": grid.pool.address, "trust_domain": "pool.test"}
    payload = given["token"].split(".")[1]
    said = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    assert said["sub"] == "lab-01@workers.pool.test"
    assert set(said["scope"].split()) == {
        f"condor:/{right}" for right in ("ADVERTISE_STARTD", "ADVERTISE_MASTER", "READ")
    }
    assert said["exp"] - said["iat"] == given["lifetime"] == 86400
    folder = tmp_path / "t"
    folder.mkdir(mode=0o700)
    (folder / "worker").write_text(given["token"] + "\n")
    (folder / "worker").chmod(0o600)
    env = {
        **grid.pool.env,
        "_CONDOR_SEC_TOKEN_DIRECTORY": str(folder),
        "_CONDOR_SEC_CLIENT_AUTHENTICATION_METHODS": "IDTOKENS",
    }

    def may(daemon: str, right: str) -> bool:
        call = ["condor_ping", "-addr", f"<{grid.pool.address}>", "-type", daemon, right]
        done = subprocess.run(
            call, capture_output=True, text=True, timeout=harness.PATIENCE, check=False, env=harness.environment(env)
        )
        return done.returncode == 0

    assert may("COLLECTOR", "ADVERTISE_STARTD")
    assert not may("COLLECTOR", "ADVERTISE_SCHEDD")
    assert not may("COLLECTOR", "ADMINISTRATOR")
    assert not may("COLLECTOR", "WRITE")
    assert given["token"] not in grid.story()


def test_an_image_is_fetched_as_it_lies_in_the_repository(grid: Grid) -> None:
    got = grid.ask("lab-01", "fetch", "blank")
    folder = grid.folder / "images" / "blank" / "1"
    listed = subprocess.run(
        ["sha256sum", *sorted(got)], cwd=folder, capture_output=True, text=True, check=True, timeout=harness.PATIENCE
    ).stdout  # fmt: skip
    assert {line.split()[1]: line.split()[0] for line in listed.splitlines()} == {
        name: digest for name, (_, digest) in got.items()
    }
    assert {"manifest.json", "manifest.sig", "image.toml"} <= set(got)


def test_the_overview_shows_it_and_what_a_machine_says_is_text(grid: Grid, chromium: Browser, tmp_path: Path) -> None:
    job = submit(grid, '"blank"', "queue 4")
    grid.enrol("lab-02")
    grid.ask("lab-01", "report", MARKUP)
    grid.demands("lab-01", jobs=4)
    context = chromium.new_context(ignore_https_errors=True, viewport={"width": 1280, "height": 900})
    visitor = Visitor(context, grid.url)
    try:
        page = visitor.open(grid.url)
        expect(page.locator("#door")).to_be_visible()
        page.fill("#token", "wrong")
        page.click("#door button")
        expect(page.locator("#message")).to_contain_text("not the token")
        page.fill("#token", grid.admin)
        page.click("#door button")
        expect(page.locator("#headline")).to_have_text("1 machine here, 1 lending")
        expect(page.locator("#jobs tbody tr").first).to_have_text("blank41")
        expect(page.locator("#images tbody tr").first).to_contain_text("blank@1")
        row = page.locator("#machines tbody tr", has_text="lab-01")
        expect(row).to_contain_text("5.4 GB")
        expect(row.locator("[title]").nth(1)).to_have_attribute("title", MARKUP)
        expect(page.locator("#machines tbody tr", has_text="lab-02")).to_contain_text("away")
        assert page.locator("#machines img, #machines script").count() == 0
        page.screenshot(path=str(tmp_path / "pool.png"), full_page=True)
        assert context.cookies()[0]["httpOnly"]
        page.click("text=Log out")
        expect(page.locator("#door")).to_be_visible()
        assert visitor.complaints == []
    finally:
        context.close()
        grid.pool.attempt("condor_rm", job.partition(".")[0])
    assert "sevenlbd_grid_machines" in grid.get("/metrics")[1]


def test_the_service_is_killed_and_nothing_of_the_machines_is_lost(grid: Grid) -> None:
    grid.ask("lab-01", "waiting")
    grid.end(signal.SIGKILL)
    assert grid.ask("lab-01", "waiting")["refused"] == "PoolGone"
    grid.begin()
    assert grid.ask("lab-01", "waiting")["pool"]["trust_domain"] == "pool.test"


def test_a_revoked_machine_is_told_why(grid: Grid) -> None:
    grid.enrol("lab-03")
    assert "lab-03  enrolled" in grid.call("grid", "pool", "list")
    grid.call("grid", "pool", "revoke", "lab-03", "--why", "the laptop was lost")
    told = grid.ask("lab-03", "waiting")
    assert told["refused"] == "MachineBarred"
    assert "the laptop was lost" in told["what"]
    assert "REVOKED: the laptop was lost" in grid.call("grid", "pool", "list")


def test_the_key_of_a_stolen_disk_is_gone_with_its_machine(grid: Grid) -> None:
    keys = Path(grid.state("kept")) / "grid" / "keys"
    grid.enrol("kept", "--image-key-source", "pool")
    assert [path.name for path in keys.iterdir()] == ["image-key.json"], "what opens it is on no disk of the machine"
    before = (keys / "image-key.json").read_bytes()
    assert "with the pool" in grid.call("grid", "rekey", whose="kept")
    assert (keys / "image-key.json").read_bytes() != before
    assert "its disk's key is kept here" in grid.call("grid", "pool", "list")
    told = grid.call("grid", "pool", "revoke", "kept", "--why", "stolen")
    assert "nothing opens what is encrypted on its disk any more" in told
    grid.call("grid", "rekey", whose="kept", code=4)
    assert not list((Path(grid.state("pool")) / "grid-pool" / "keys").glob("kept~*"))


@pytest.fixture
def lent(grid: Grid, work: Path) -> Iterator[LentMachine]:
    """A machine of the pool's that has the key of its images from there, and nothing of it on a disk."""
    images = PoolImages(grid.folder)
    images.add("1")
    grid.call("image", "publish", "lab@1", "--image-dir", str(images.folder))
    # What guests may reach is not this machine itself; and the service tells it when it begins.
    assert grid.end(signal.SIGTERM) == 0
    with (grid.folder / "site" / "7lbd.toml").open("a") as site:
        site.write(f'collector = "{pool_stand_in.COLLECTOR}"\npoll = "5s"\n')
    grid.begin()
    machine = LentMachine(work / "m", harness.SIF)
    machine.grants(f"""\
min_space = "1M"
egress_allow = ["tcp://{pool_stand_in.COLLECTOR}"]

[owner]
memory = "64M"
grace = "10s"

[grid]
trusted_keys = ["{images.public}"]
cpus = 1
memory = "128M"
""")
    code = grid.call("grid", "pool", "code").strip().splitlines()[-1].split()
    own = ("--machine", "lent", "--image-key-source", "pool", "--state-dir", str(machine.state))
    done = machine.call(*code[1:], *own)
    assert done.returncode == 0, done.stderr
    assert "is kept by the pool, and here in memory alone" in done.stdout
    try:
        yield machine
    finally:
        machine.clean_up()


def test_a_vm_starts_while_the_pool_gives_the_key_of_its_image_and_no_more_when_its_machine_is_revoked(
    grid: Grid, lent: LentMachine
) -> None:
    job = submit(grid, '"lab"', "request_cpus = 1\nrequest_memory = 16\nrequest_disk = 1024")
    try:
        lent.begin()
        (name,) = lent.wait("a VM", lent.sessions)
        assert json.loads((lent.vm(name).folder / "session.json").read_text())["image"] == "lab@1"

        (kept,) = (Path(grid.state("pool")) / "grid-pool" / "keys").glob("lent~*")
        key = kept.read_text().strip()
        plain = (grid.folder / "images" / "lab" / "1" / "disk.raw").read_bytes()[DISK // 2 :][:4096]
        secrets = (key.encode(), bytes.fromhex(key), plain)
        files = [path for path in lent.state.rglob("*") if path.is_file() and not path.is_symlink()]
        assert any(path.stat().st_size > DISK for path in files), "the image is there"
        assert [path for path in files if any(secret in path.read_bytes() for secret in secrets)] == []

        grid.call("grid", "pool", "revoke", "lent", "--why", "the laptop was lost")
        assert lent.end() == 0, lent.story()
        begun = len(lent.changes("vm", "checking"))
        lent.begin()
        why = lent.wait_change("key of the images", "is not here")["why"]
        assert "the machine `lent` is revoked: the laptop was lost" in why
        shown = lent.call("grid", "show").stdout
        assert f"NOT HERE: {why}; so no image is fetched, and no VM begins" in shown
        lent.wait_change("pool", "does not answer")
        assert len(lent.changes("vm", "checking")) == begun
        assert lent.sessions() == {}
        assert lent.end() == 0, lent.story()
    finally:
        grid.pool.attempt("condor_rm", job.partition(".")[0])
