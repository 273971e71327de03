"""A guest that joins a pool of the real HTCondor: by one way out, with jobs of its image and of none, and gone when
idle.

The pool is on the far side of a site's network (sitenet.py), with a queue and no node of its own: whatever runs, runs
in the guest.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import subprocess
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import condor
import harness
import pytest
import sitenet
import workers
from condor import CondorPool
from conftest import keep
from harness import HOST, Session
from sitenet import SiteNet
from siteserver import GATEWAY, LICENSE, LMGRD, NODE, OTHER, PORTAL, RESOLVER
from ways import ALONE, site_file

SEEN_SECONDS = 600
IDLE_SECONDS = 300
_PORT = 8765

SCAN = """
import concurrent.futures, json, socket, sys

def reach(place):
    try:
        socket.create_connection(place, 2).close()
    except OSError:
        return None
    return place

places = [tuple(place) for place in json.loads(sys.argv[1])]
with concurrent.futures.ThreadPoolExecutor(64) as pool:
    print(json.dumps([place for place in pool.map(reach, places) if place]))
"""
JOB = """#!/bin/sh
sha256sum given.bin | cut -d' ' -f1 >given.sum
head -c 300000 /dev/urandom >made.bin
sha256sum made.bin | cut -d' ' -f1 >made.sum
id -un >who
hostname >where
for file in /run/7lbd-worker/tokens/pool /run/7lbd-worker/passwords/*; do
    if cat "$file" >/dev/null 2>&1; then echo "$file"; fi
done >readable
sync
ls /home /mnt /media /proc/mounts >seen 2>&1
mount -t cifs >>seen
if [ -e scan.py ]; then python3 scan.py "$(cat places)" >scan.json; fi
"""
MADE = ("given.sum", "made.bin", "made.sum", "who", "where", "readable", "seen", "scan.json")


@pytest.fixture(scope="module")
def net(work: Path) -> Iterator[SiteNet]:
    """The site's network, and on its node a server that is nobody's business in the guest."""
    folder = work / "net"
    folder.mkdir()
    with sitenet.up(folder) as made:
        call = [
            *made.prefix,
            "python3",
            "-m",
            "http.server",
            "--bind",
            "0.0.0.0",
            "--directory",
            str(folder),
            str(_PORT),
        ]
        with subprocess.Popen(call, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
            yield made
            server.kill()


@pytest.fixture(scope="module")
def pool(net: SiteNet, work: Path) -> Iterator[CondorPool]:
    """Collector, negotiator and queue, behind one port."""
    with workers.pool_beyond(net, work / "p") as running:
        yield running


@pytest.fixture(scope="module")
def site(pool: CondorPool, work: Path) -> list[str]:
    """Options of Apptainer: what the site lets guests reach is more than the pool."""
    ways = [f"tcp://{workers.NAME}:{pool.port}", f"tcp://{workers.NAME}:{LMGRD}", "https://portal.example.edu"]
    return site_file(work, egress_allow=ways)


@pytest.fixture(scope="module")
def image(net: SiteNet, site: list[str], work: Path) -> Path:
    """The worker image, warm."""
    return workers.warm_image(work / "images" / "worker", net.prefix, site)


@pytest.fixture(scope="module")
def worker(net: SiteNet, pool: CondorPool, image: Path, site: list[str], work: Path) -> Iterator[Session]:
    """A warm worker in the pool."""
    base = work / "worker"
    more = {"idle_seconds": IDLE_SECONDS, "attributes": {"SevenLbdOwner": "physics"}}
    prefix = [*net.prefix, *workers.joining(work, pool, **more)]
    words = ["--image", str(image), "--join", "/dev/fd/3", "--name", "worker"]
    session = harness.start(*words, base=base, prefix=prefix, options=site, env=ALONE)
    try:
        session.wait_event("worker", SEEN_SECONDS, phase="idle")
        yield session
    finally:
        if session.process.poll() is None:
            session.process.terminate()
            session.wait_end()
        keep(base, "worker")


def submit(pool: CondorPool, name: str, *lines: str) -> str:
    """A job of one image or of none, with files both ways; its results come to a folder of its own."""
    folder = pool.jobs / name
    folder.mkdir()
    (folder / "job.sh").write_text(JOB)
    (folder / "given.bin").write_bytes(secrets.token_bytes(300_000))
    (folder / "scan.py").write_text(SCAN)
    places = [[address, port] for address in (NODE, GATEWAY, OTHER, PORTAL, RESOLVER, LICENSE, HOST, "10.0.0.1")
              for port in (22, 53, 80, 139, 443, 3128, 5900, LMGRD, LMGRD + 1, _PORT, pool.port)]  # fmt: skip
    (folder / "places").write_text(json.dumps(places))
    description = [
        f"executable = {folder}/job.sh",
        f"initialdir = {folder}",
        "should_transfer_files = YES",
        "transfer_input_files = given.bin, scan.py, places",
        f"transfer_output_files = {', '.join(MADE)}",
        "request_cpus = 1\nrequest_memory = 64MB\nrequest_disk = 20MB",
        *lines,
    ]
    return pool.submit("\n".join(description))


def results(pool: CondorPool, name: str) -> dict[str, str]:
    """What a job has made, its checksums right both ways."""
    folder = pool.jobs / name
    assert (folder / "given.sum").read_text().strip() == hashlib.sha256((folder / "given.bin").read_bytes()).hexdigest()
    assert (folder / "made.sum").read_text().strip() == hashlib.sha256((folder / "made.bin").read_bytes()).hexdigest()
    return {path.name: path.read_text() for path in folder.iterdir() if path.name in MADE and path.suffix != ".bin"}


def test_a_worker_is_known_by_its_machine_and_slot_and_says_which_image_it_is(
    worker: Session, pool: CondorPool, image: Path
) -> None:
    version = tomllib.loads((image / "image.toml").read_text())["version"]
    names = ("Machine", "vm_name", "SevenLbdImage", "SevenLbdOwner", "State", "Activity")
    told = [["lab-7-2.worker", "worker", f"worker@{version}", "physics", "Unclaimed", "Idle"]]
    deadline = time.monotonic() + SEEN_SECONDS
    while (found := pool.slots(*names)) != told:  # its collector has it a moment later
        assert time.monotonic() < deadline, f"{found}, not {told}"
        time.sleep(0.3)
    milestones = json.loads((worker.folder / "session.json").read_text())["milestones"]
    assert "thawed" in milestones, "it went on from the warm state, which knows no pool"
    assert [event["phase"] for event in worker.events if event["event"] == "worker"][-1] == "idle"


def test_jobs_of_its_image_and_of_none_run_in_it_with_files_both_ways_and_those_of_another_wait(
    worker: Session, pool: CondorPool
) -> None:
    other = submit(pool, "other", '+vm_name = "other"')
    named = submit(pool, "named", '+vm_name = "worker"')
    plain = submit(pool, "plain")
    assert pool.wait(named, timeout=SEEN_SECONDS) == condor.COMPLETED
    assert pool.wait(plain, timeout=SEEN_SECONDS) == condor.COMPLETED
    worker.wait_event("worker", SEEN_SECONDS, phase="busy")
    assert pool.ad(other, "JobStatus", "NumJobStarts") == [str(condor.IDLE), "0"]
    pool.call("condor_rm", other)
    for name in ("named", "plain"):
        made = results(pool, name)
        assert made["who"].startswith("job"), "an account that nothing else has"
        assert made["where"].strip() == "worker"
        assert made["readable"] == "", "no job reads the token"
        assert "cifs" not in made["seen"], "no file of the machine"


def test_from_the_guest_nothing_can_be_reached_but_the_pools_one_port(
    worker: Session, pool: CondorPool, net: SiteNet
) -> None:
    """Servers listen at the pool's own address, beside it and on the node; a job has tried them all."""
    assert worker.process.poll() is None
    reached = {tuple(place) for place in json.loads(results(pool, "named")["scan.json"])}
    assert reached - {(HOST, 53), (HOST, 139), (HOST, 445)} == {(LICENSE, pool.port)}
    arrived = {(kind, address, port) for kind, address, port in net.all_of("seen")}
    assert arrived <= {("tcp", LICENSE, pool.port), ("udp", RESOLVER, 53)}


def test_the_token_is_on_no_disk_of_the_machine_nor_of_the_guest(worker: Session, pool: CondorPool, work: Path) -> None:
    secret = workers.token(pool).partition(".")[0].encode()  # the header, which every token of this pool begins with
    assert secret not in (worker.folder / "session.json").read_bytes()
    written = [path for path in worker.folder.rglob("*") if path.is_file() and not path.is_symlink()]
    assert written
    for path in [*written, *(work / "worker").glob("*.qcow2")]:
        assert subprocess.run(["grep", "-qaF", secret.decode(), str(path)], check=False).returncode == 1, path


def test_a_worker_whose_pool_dies_waits_and_is_back_with_it_and_leaves_when_nobody_wants_it(
    worker: Session, pool: CondorPool
) -> None:
    pool.kill()
    worker.wait_event("worker", SEEN_SECONDS, phase="joining", why=f"the pool at {LICENSE}:{pool.port} does not answer")
    before = len(worker.events)
    pool.begin()
    deadline = time.monotonic() + SEEN_SECONDS
    while not any(event["event"] == "worker" and event["phase"] == "idle" for event in worker.events[before:]):
        assert time.monotonic() < deadline, worker.story()
        time.sleep(0.3)
    worker.wait_event("worker", SEEN_SECONDS, phase="left")
    assert worker.wait_end() == 0
    ended = worker.wait_event("finished")
    assert ended["reason"] == f"worker lab-7/2 has left its pool: no job came for {IDLE_SECONDS} s"
    assert ended["end"] == "the guest shut down"


def test_a_token_that_the_pool_does_not_take_is_told_in_one_line(
    net: SiteNet, pool: CondorPool, image: Path, site: list[str], work: Path
) -> None:
    good = workers.token(pool)
    bad = good[:-8] + ("A" * 8 if not good.endswith("A" * 8) else "B" * 8)
    prefix = [*net.prefix, *workers.joining(work, pool, token=bad)]
    words = ["--image", str(image), "--join", "/dev/fd/3"]
    session = harness.start(*words, base=work / "bad", prefix=prefix, options=site, env=ALONE)
    try:
        assert session.wait_end(SEEN_SECONDS) == 7
    finally:
        session.kill()
    reason = session.wait_event("finished")["reason"]
    assert reason == (
        "the pool has not let worker lab-7/2 in: its token is not taken: it is another pool's, was changed, has "
        "expired, or its clock is wrong"
    )
    assert bad not in json.dumps(session.events) + session.errors


def test_a_pool_that_the_site_does_not_allow_is_refused_before_anything_begins(
    pool: CondorPool, blank_image: Path, net: SiteNet, work: Path
) -> None:
    options = site_file(work, egress_allow=[f"tcp://{workers.NAME}:{LMGRD}"])
    prefix = [*net.prefix, *workers.joining(work, pool)]
    words = ("run", "--session-dir", str(work / "none"), "--image", str(blank_image), "--join", "/dev/fd/3")
    refused = harness.run(*words, prefix=prefix, options=options, env=ALONE)
    assert refused.returncode == 2, refused.stderr
    assert f"the pool is at tcp://{workers.NAME}:{pool.port}, and no way out of this site leads there" in refused.stderr
    assert not (work / "none").exists()
