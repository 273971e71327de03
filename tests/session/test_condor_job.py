"""Jobs of the real HTCondor: files both ways, images by name, hold, eviction and return, checkpoints, what a node lost.

What a job is, is what `render condor` makes; what most of them run is a script of a line, which costs no machine.
"""

from __future__ import annotations

import hashlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import condor
import harness
import pytest
from condor import CondorPool

PLAIN = "executable = /bin/sh\ntransfer_executable = false\nrequest_memory = 100M\nrequest_disk = 10M\n"
_SEEN_SECONDS = 240  # of a node's ad by the queue: a probe, an update, a cycle of the negotiator


@pytest.fixture(scope="module")
def repositories(work: Path, blank_image: Path) -> Path:
    """Each node's own images: node1 has alpha, node2 has beta."""
    for node, name in (("node1", "alpha"), ("node2", "beta")):
        folder = work / "i" / node / name
        folder.mkdir(parents=True)
        (folder / "image.toml").write_bytes(
            (blank_image / "image.toml").read_bytes().replace(b'"blank"', f'"{name}"'.encode())
        )
        (folder / "disk.qcow2").write_bytes((blank_image / "disk.qcow2").read_bytes())
    return work / "i"


@pytest.fixture(scope="module")
def pool(work: Path, repositories: Path) -> Iterator[CondorPool]:
    """One pool for all of these tests: two nodes that advertise what they have, each a place of its own."""
    before = harness.my_processes()
    # Away from whatever images lie beside the SIF.
    sif = work / "s" / "7lbd.sif"
    sif.parent.mkdir()
    sif.symlink_to(harness.SIF)
    options = {"STARTD_CRON_JOBLIST": "SEVENLBD", "STARTD_CRON_MAX_JOB_LOAD": "5", "RANK": "TARGET.Urgent =?= True"}
    for node in ("node1", "node2"):
        words = ["advertise", "--image-dir", f"{repositories}/{node}"]
        call = harness.command(*words, options=["--bind", str(work)], sif=sif)
        options |= {
            f"{node}.STARTD_CRON_SEVENLBD_EXECUTABLE": _apptainer(),
            f"{node}.STARTD_CRON_SEVENLBD_ARGS": " ".join(call[1:]),
            f"{node}.STARTD_CRON_SEVENLBD_MODE": "Periodic",
            f"{node}.STARTD_CRON_SEVENLBD_PERIOD": "8s",
        }
    with condor.running(work / "p", nodes=("node1", "node2"), cpus=2, memory_mb=4000, options=options) as running:
        wait_known(running, "node1", "alpha")
        wait_known(running, "node2", "beta")
        yield running
    assert not harness.wait_until_gone(harness.my_processes() - before)


def _apptainer() -> str:
    found = subprocess.run(["sh", "-c", "command -v apptainer"], capture_output=True, text=True, check=True)
    return found.stdout.strip()


def images(pool: CondorPool, node: str) -> str:
    """What a node says that it has."""
    return next(iter(pool.slots("SevenLbdImages", constraint=f'regexp("@{node}@", Name) && PartitionableSlot')))[0]


def wait_known(pool: CondorPool, node: str, listed: str) -> None:
    deadline = time.monotonic() + _SEEN_SECONDS
    while images(pool, node) != listed:
        assert time.monotonic() < deadline, f"{node} has {images(pool, node)}\n{pool.story()}"
        time.sleep(0.5)


def rendered(*words: str) -> str:
    """What `render condor` says of a job beside what it runs, and beside its size."""
    told = harness.run("render", "condor", "--memory", "100M", "--cpus", "1", *words)
    assert told.returncode == 0, told.stderr
    kept, skipped = (
        [],
        ("executable", "transfer_exec", "arguments", "    ", "queue", "request_", "output", "error", "stream"),
    )
    for line in told.stdout.splitlines():
        if not line.startswith(skipped):
            kept.append(line)
    return "\n".join(kept) + "\n"


def script(text: str) -> str:
    """A job's command line. In the syntax of arguments quotes of both kinds are doubled."""
    return f"""arguments = "-c '{text.replace("'", "''").replace('"', '""')}'"\n"""


def where(pool: CondorPool, job: str) -> str:
    """The node on which a job has run last."""
    return pool.ad(job, "LastRemoteHost")[0].split("@")[1]


def test_a_jobs_files_go_there_and_come_back_whole(pool: CondorPool) -> None:
    """The job starts the machine's own Apptainer, with the SIF."""
    given = hashlib.sha256(b"7lbd" * 250_000).digest() * 31_250
    (pool.jobs / "in.bin").write_bytes(given)
    job = pool.submit(
        PLAIN + script(f"apptainer exec {harness.SIF} sha256sum in.bin; cp in.bin back.bin")
        + "should_transfer_files = YES\ntransfer_input_files = in.bin\ntransfer_output_files = back.bin\n"
        "output = sum.txt\nerror = err.txt\n"
    )  # fmt: skip
    assert pool.wait(job) == condor.COMPLETED
    assert pool.ad(job, "ExitCode") == ["0"]
    assert (pool.jobs / "back.bin").read_bytes() == given
    assert (pool.jobs / "sum.txt").read_text().split()[0] == hashlib.sha256(given).hexdigest()


def test_a_job_goes_where_its_image_is(pool: CondorPool) -> None:
    named = {name: pool.submit(PLAIN + rendered("--image", name) + script("sleep 2")) for name in ("alpha", "beta")}
    nameless = pool.submit(PLAIN + script("true"))
    nowhere = pool.submit(PLAIN + rendered("--image", "gamma") + script("true"))
    hostile = pool.submit(PLAIN + '+vm_name = "alpha\\" || true || \\""\n' + _requirements() + script("true"))
    listed = pool.submit(PLAIN + '+vm_name = "alpha,beta"\n' + _requirements() + script("true"))
    without_kvm = pool.submit(PLAIN + "requirements = SevenLbdKvm\n" + script("true"))
    for name, node in (("alpha", "node1"), ("beta", "node2")):
        pool.wait(named[name])
        assert where(pool, named[name]) == node
    assert pool.wait(nameless) == condor.COMPLETED, "a job that names none goes anywhere"
    assert [pool.status(job) for job in (nowhere, hostile, listed)] == [condor.IDLE] * 3
    assert pool.slots("SevenLbdKvm")[0] == ["false"] or pool.wait(without_kvm) == condor.COMPLETED
    assert pool.slots("SevenLbdKvm")[0] == ["true"] or pool.status(without_kvm) == condor.IDLE
    pool.call("condor_rm", nowhere, hostile, listed, without_kvm)


def _requirements() -> str:
    return next(line for line in rendered("--image", "alpha").splitlines(True) if line.startswith("requirements"))


def test_a_session_starts_the_image_that_its_job_names(pool: CondorPool, repositories: Path) -> None:
    """By its ad alone, in a job of anybody's making."""
    call = harness.command("run", "--memory", "256M", "--for", "2s", options=["--bind", str(repositories.parent)])
    places = f"environment = SEVENLBD_IMAGE_DIRS={repositories}/node1;SEVENLBD_STATE_DIR=off;HOME={pool.jobs}\n"
    log = "output = named.log\nerror = named.log\n"
    job = pool.submit(
        f'{PLAIN}+vm_name = "alpha"\n{_requirements()}{places}{log}request_memory = 900M\n'
        + script("exec " + " ".join(call))
    )
    assert pool.wait(job) == condor.COMPLETED
    told = (pool.jobs / "named.log").read_text()
    assert f"session job{job.replace('.', '-')} of alpha" in told, told
    hostile = pool.submit(f'{PLAIN}+vm_name = "/etc"\n{places}{log}' + script("exec " + " ".join(call)))
    pool.wait(hostile)
    assert pool.ad(hostile, "ExitCode") == ["3"]
    assert "the job's ad (vm_name): `/etc` cannot be an image's name" in (pool.jobs / "named.log").read_text()


def test_a_job_goes_on_waiting_when_its_node_has_lost_what_it_advertised(pool: CondorPool, repositories: Path) -> None:
    """The image is gone when the job comes: exit code 3, and it is not lost; a node that has it again gets it."""
    there = pool.jobs / "there"
    job = pool.submit(PLAIN + rendered("--image", "beta") + script(f"test -e {there} || exit 3"))
    deadline = time.monotonic() + _SEEN_SECONDS
    # The next start may have come before we look: it is as well that it has waited and begun again.
    while pool.starts(job) < 2 and not (pool.starts(job) == 1 and pool.status(job) == condor.IDLE):
        assert time.monotonic() < deadline, pool.why(job)
        time.sleep(0.2)
    there.touch()
    assert pool.wait(job) == condor.COMPLETED
    assert pool.starts(job) >= 2
    disk = repositories / "node2" / "beta" / "disk.qcow2"
    disk.rename(disk.with_suffix(".away"))
    try:
        wait_known(pool, "node2", "")
    finally:
        disk.with_suffix(".away").rename(disk)
    wait_known(pool, "node2", "beta")


def test_a_job_is_held_and_released(pool: CondorPool) -> None:
    job = pool.submit(PLAIN + rendered("--image", "alpha") + script("test -e go || exec sleep 900"))
    pool.wait(job, condor.RUNNING)
    pool.call("condor_hold", job)
    pool.wait(job, condor.HELD)
    status = harness.run("status", options=["--bind", "/:/node"], env=_with_commands(pool))
    assert f"job{job}  held: via condor_hold" in status.stdout, status.stdout + status.stderr
    pool.call("condor_release", job)
    pool.wait(job, condor.RUNNING)
    pool.call("condor_rm", job)
    assert pool.wait(job) == condor.REMOVED


def _with_commands(pool: CondorPool) -> dict[str, str]:
    return {**pool.env, "PATH": pool.env["PATH"]}


def desktop(pool: CondorPool, told_to_go: str) -> str:
    """A stand-in for a desktop: suspended when it is told to go, and after a checkpoint of its own; none is lost."""
    saved = "7lbd-saved/desktop.7lbd"
    steps = (
        f"mkdir -p 7lbd-saved; echo life >> {saved}; trap 'echo {told_to_go} >> {saved}; exit 85' TERM; "
        f"case $(grep -c life {saved}) in 1) touch {_up(pool, told_to_go)}; sleep 900 & wait;; "
        f"2) echo checkpoint >> {saved}; exit 85;; esac; "
        f"cat {saved}"
    )
    kept = rendered("--image", "alpha", "--at-end", "suspend")
    return PLAIN + kept + script(steps) + f"output = {told_to_go}.txt\nerror = {told_to_go}.err\n"


def _up(pool: CondorPool, told_to_go: str) -> Path:
    """It is there when the desktop hears that it has to go."""
    return pool.jobs / f"{told_to_go}.up"


def wait_up(pool: CondorPool, told_to_go: str) -> None:
    """A job that runs, for its queue, may not have come to its first line."""
    deadline = time.monotonic() + _SEEN_SECONDS
    while not _up(pool, told_to_go).exists():
        assert time.monotonic() < deadline, pool.story()
        time.sleep(0.2)


def lives(pool: CondorPool, told_to_go: str) -> list[str]:
    """What such a one has seen, in all its lives."""
    return (pool.jobs / f"{told_to_go}.txt").read_text().split()


def test_what_is_evicted_returns_to_where_it_was(pool: CondorPool) -> None:
    job = pool.submit(desktop(pool, "evicted"))
    wait_up(pool, "evicted")
    pool.call("condor_vacate_job", job)
    assert pool.wait(job) == condor.COMPLETED
    assert lives(pool, "evicted") == ["life", "evicted", "life", "checkpoint", "life"]


def test_one_that_the_node_ranks_higher_takes_its_place_and_it_returns_after_that(pool: CondorPool) -> None:
    """By the node's RANK (the pool's configuration): the desktop is suspended, waits, and goes on."""
    job = pool.submit(desktop(pool, "preempted") + "request_cpus = 2\n")
    wait_up(pool, "preempted")
    urgent = f"+Urgent = true\nrequest_cpus = 2\n{_requirements()}" + '+vm_name = "alpha"\n'
    higher = pool.submit(PLAIN + urgent + script("date +%s"))
    assert pool.wait(higher) == condor.COMPLETED
    assert pool.status(job) != condor.COMPLETED
    assert pool.wait(job) == condor.COMPLETED
    assert lives(pool, "preempted") == ["life", "preempted", "life", "checkpoint", "life"]
