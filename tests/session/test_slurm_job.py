"""Sessions in jobs of the real Slurm: what they take from the job, and how they end with it."""

from __future__ import annotations

import json
import re
import shlex
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import harness
import pool
import pytest
from pool import Pool

REFUSED_BY_NODE, REFUSED_BY_SIZE, TERMINATED = 4, 5, 143
READY_SECONDS, SHUTDOWN_SECONDS = harness.READY_SECONDS, 400
SHOWS_NOTICE = "DISPLAY=:0 xwininfo -root -tree | grep -q 'Message from the cluster'"


@pytest.fixture(scope="module")
def slurm(work: Path) -> Iterator[Pool]:
    """One node of 2 CPUs; processes of jobs are ours to count (prctl(2), subreaper)."""
    before = harness.my_processes()
    # Credentials that are soon worth nothing: a requeued job waits for that (slurm.conf(5), AuthInfo). And time for
    # guests to shut down in, which takes them long under emulation on a busy machine.
    with pool.running(work / "pool", cpus=2, memory_mb=8000, AuthInfo="cred_expire=15", KillWait="400") as running:
        yield running
    assert not harness.wait_until_gone(harness.my_processes() - before)


@pytest.fixture
def place(base: Path, slurm: Pool) -> Iterator[Path]:
    """Where this test's session folders are made: nothing may be left of them."""
    yield base
    if left := slurm.jobs():  # of a test that failed
        slurm.cancel(*left)
        for job in left:
            slurm.wait(job, timeout=SHUTDOWN_SECONDS)
    assert not base.exists() or not [path.name for path in base.iterdir()]


def script(*arguments: str, image: Path, place: Path | None = None) -> str:
    """A job script as docs/cluster.md shows it."""
    where = ["--session-dir", str(place)] if place else []
    return "exec " + shlex.join(harness.command("run", "--image", str(image), *where, *arguments))


def state(place: Path, name: str) -> dict[str, Any]:
    """What a session says of itself."""
    told: dict[str, Any] = json.loads((place / name / "session.json").read_text())
    return told


def secrets(place: Path, name: str) -> list[str]:
    """All that nobody else may know of a session."""
    told = json.loads((place / name / "credentials.json").read_text())
    return [told["password"], *told["tokens"].values()]


def guest_memory(session: int) -> int:
    """MiB of the machine that a process below `session` runs."""
    lines = [line for line in harness.descendants(session).values() if "qemu-system" in line and " -m " in line]
    [found] = {match[1] for line in lines if (match := re.search(r" -m (\d+)M ", line))}
    return int(found)


def wait_gone(folder: Path) -> None:
    deadline = time.monotonic() + SHUTDOWN_SECONDS
    while folder.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not folder.exists()


def test_two_jobs_of_one_user_on_one_node(slurm: Pool, place: Path, blank_image: Path) -> None:
    """Each has its own name, memory, CPUs and log; what ends one leaves the other alone."""
    submitted = [
        slurm.sbatch(script(image=blank_image, place=place), f"--mem={memory}", "--cpus-per-task=1", "--time=10")
        for memory in ("900", "1100")
    ]
    for job, memory in zip(submitted, (388, 588), strict=True):
        output = slurm.wait_output(job, "booting")
        told = state(place, f"job{job}")
        assert (told["job"], told["step"], told["restarts"]) == (str(job), "", 0)
        assert guest_memory(told["pid"]) == memory
        assert f"{memory / 1024:.1f} GiB" in output
        assert f"session job{job} of blank" in output
        assert f" in job {job}\n" in output
        for secret in secrets(place, f"job{job}"):
            assert secret not in output
        lines = output.splitlines()
        assert len(lines) < 15, "short"
        timed = [line for line in lines if re.match(r"7lbd: ( +\d+\.\d s|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)", line)]
        assert len(timed) >= 3, output
    shown = harness.run("status", "--json", "--session-dir", str(place))
    assert {told["id"] for told in json.loads(shown.stdout)} == {f"job{job}" for job in submitted}
    slurm.cancel(submitted[0])
    wait_gone(place / f"job{submitted[0]}")
    assert slurm.state(submitted[1]) == "RUNNING"
    # Only the batch script itself is told, as where control groups track processes.
    slurm.cancel(submitted[1], options=["--signal=TERM", "--batch"])
    assert slurm.wait(submitted[1])["ExitCode"] == f"{TERMINATED}:0"
    assert "has ended: SIGTERM came" in slurm.output(submitted[1])


def test_tasks_of_a_step_get_names_of_their_own(slurm: Pool, place: Path, blank_image: Path) -> None:
    """srun in a batch job: two tasks begin at the same moment, and share what the job has."""
    wanted = script("--for", "4s", image=blank_image, place=place)
    job = slurm.sbatch(f"srun sh -c {shlex.quote(wanted)}", "--ntasks=2", "--mem=1800", "--time=10")
    slurm.wait_output(job, "booting")
    for name in (f"job{job}", f"job{job}-2"):
        deadline = time.monotonic() + harness.PATIENCE
        while time.monotonic() < deadline:
            with suppress(FileNotFoundError):
                if "booting" in state(place, name)["phases"]:
                    break
            time.sleep(0.1)
        told = state(place, name)
        assert told["step"] == "0"
        assert guest_memory(told["pid"]) == 388, "half of 1800 MB each, without 512 MB for helpers"
    assert slurm.wait(job)["JobState"] == "COMPLETED"
    assert slurm.output(job).count("has ended: its time is up") == 2


def test_srun_and_salloc_alone_and_the_jobs_own_temporary_folder(slurm: Pool, place: Path, blank_image: Path) -> None:
    """A folder that the site makes for each job is taken; a shell of salloc's is told where it is."""
    temporary = place / "made-for-the-job"
    temporary.mkdir(parents=True)
    env = {"SLURM_TMPDIR": str(temporary), "TMPDIR": str(place)}
    run = ["sh", "-c", script("--for", "1s", "--json", image=blank_image)]
    for command, step in (("srun", "0"), ("salloc", "")):
        started = slurm.popen(command, "--mem=1G", "--time=10", *run, env=env)
        output, _ = started.communicate(timeout=harness.PATIENCE)
        assert started.returncode == 0, output
        [told] = [json.loads(line) for line in output.splitlines() if '"event": "finished"' in line]
        assert (told["id"], told["step"]) == (f"job{told['job']}", step)
        assert Path(told["folder"]).parent.parent == temporary
        warned = any("Slurm has not started it on a node of the job (node1)" in text for text in told["warnings"])
        # srun by itself tells no memory: without a control group that does, the image's is taken.
        noted = any("0.5 GiB, which is 1.0 GiB in the job's allocation" in text for text in told["notes"])
        assert (warned, noted) == ((False, False) if step else (True, True)), output
    temporary.rmdir()


def test_a_job_that_cannot_hold_the_image_fails_with_the_reason(slurm: Pool, place: Path) -> None:
    small = slurm.sbatch(script(image=harness.DEMO, place=place), "--mem=1500", "--time=10")
    told = slurm.wait(small)
    assert (told["JobState"], told["ExitCode"]) == ("FAILED", f"{REFUSED_BY_SIZE}:0")
    output = slurm.output(small)
    assert "2.0 GiB for the guest and 0.5 GiB for its helpers make 2.5 GiB, but only 1.5 GiB" in output
    assert "--mem=2560M" in output
    without_kvm = slurm.sbatch(script("--accel", "kvm", image=harness.DEMO, place=place), "--mem=3G", "--time=10")
    told = slurm.wait(without_kvm)
    assert (told["JobState"], told["ExitCode"]) == ("FAILED", f"{REFUSED_BY_NODE}:0")
    assert "KVM is not usable" in slurm.output(without_kvm)


def test_a_preempted_desktop_shuts_down_in_order_and_is_counted_when_it_starts_anew(slurm: Pool, place: Path) -> None:
    wanted = script("--stop-grace", "300s", image=harness.DEMO, place=place)
    options = ("--mem=4G", "--cpus-per-task=2", "--requeue", "--open-mode=append", "--time=30")
    job = slurm.sbatch(wanted, *options)
    slurm.wait_output(job, "READY", READY_SECONDS)
    urgent = slurm.sbatch("true", "--partition=urgent", "--mem=5000", "--time=1")
    slurm.wait_output(job, "has ended: SIGTERM came; the guest shut down", SHUTDOWN_SECONDS)
    assert "    notice" in slurm.output(job)
    slurm.wait(urgent, timeout=SHUTDOWN_SECONDS)
    slurm.wait(job, "RUNNING")
    assert slurm.show(job)["Restarts"] == "1"
    slurm.wait_output(job, f"in job {job}, started anew 1 time\n")
    assert state(place, f"job{job}")["restarts"] == 1
    slurm.cancel(job)
    wait_gone(place / f"job{job}")


class Desktop:
    """A session that a job runs, as far as a shell in its guest needs to know it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def password(self) -> str:
        """The session's password."""
        told: dict[str, str] = json.loads((self.folder / "credentials.json").read_text())
        return told["password"]


def leave_minutes(slurm: Pool, job: int, left: int) -> None:
    """Move a job's walltime to at most so many minutes from now, and at least one less; Slurm counts in minutes."""
    hours, minutes, _ = slurm.show(job)["RunTime"].split(":")
    slurm.call("scontrol", "update", f"JobId={job}", f"TimeLimit={int(hours) * 60 + int(minutes) + left}")


def test_the_desktops_user_is_told_before_the_walltime_and_the_guest_shuts_down_in_order(
    slurm: Pool, place: Path
) -> None:
    """The image's warm state decides the size, though the job has more. Slurm sends the signal when it likes to."""
    wanted = script("--signal-lead", "150s", "--stop-grace", "100s", image=harness.DEMO, place=place)
    job = slurm.sbatch(wanted, "--mem=4G", "--cpus-per-task=2", "--time=60", "--signal=B:USR1@235")
    output = slurm.wait_output(job, "READY", READY_SECONDS)
    session = place / f"job{job}"
    assert "the guest has 2.0 GiB and 2 CPUs, as the image's warm state was frozen" in output
    assert guest_memory(state(place, session.name)["pid"]) == 2048
    for secret in secrets(place, session.name):
        assert secret not in output
    console = harness.Console(Desktop(session))
    leave_minutes(slurm, job, 4)
    slurm.wait_output(job, "the desktop's user is told: This desktop will be shut down at")
    slurm.wait_output(job, "    notice")
    console.run(f"for _ in $(seq 20); do {SHOWS_NOTICE} && break; sleep 1; done; {SHOWS_NOTICE}")
    assert state(place, session.name)["ends_at"] < time.time() + 60
    # A kernel that has much to say waits for whoever is on its serial line and does not listen.
    console.close()
    slurm.wait_output(job, "has ended: the job ends; the guest shut down", 2 * SHUTDOWN_SECONDS)
    assert slurm.wait(job)["JobState"] == "COMPLETED"
    assert "could not be told" not in slurm.output(job)
    assert not session.exists()


@pytest.mark.parametrize(
    ("options", "ends"), [((), "CANCELLED"), (("--signal=TERM", "--batch"), "COMPLETED")], ids=["all", "script-alone"]
)
def test_scancel_of_a_ready_desktop_tells_its_user_and_shuts_the_guest_down(
    slurm: Pool, place: Path, options: tuple[str, ...], ends: str
) -> None:
    """With control groups, and when a node is drained, only the batch script is told: that is the session itself."""
    wanted = script("--stop-grace", "300s", image=harness.DEMO, place=place)
    job = slurm.sbatch(wanted, "--mem=4G", "--cpus-per-task=2", "--time=60")
    slurm.wait_output(job, "READY", READY_SECONDS)
    slurm.cancel(job, options=options)
    wait_gone(place / f"job{job}")
    assert slurm.wait(job)["JobState"] == ends
    assert "    notice" in slurm.output(job)
    assert "has ended: SIGTERM came; the guest shut down" in slurm.output(job)
