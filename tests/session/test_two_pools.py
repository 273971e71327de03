"""A desktop that moves: begun in one HTCondor pool, finished in another that shares nothing with it but the image.

The job is the same in both: `run --resume-if-there FILE`. Its pool wants it gone, so it is suspended into that file,
which comes back as its output, as a checkpoint of any job; the other pool gets it as an input.
"""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import condor
import harness
from condor import CondorPool
from harness import Console

STEPS = 300
# The guest's work: it ends by itself, wherever that is, and leaves what it has counted on the share.
WORK = (
    f"i=0; while [ $i -lt {STEPS} ]; do i=$((i+1)); echo $i >> ~/count; sleep 0.1; done; "
    "cp ~/count ~/Home/.new; sync; mv ~/Home/.new ~/Home/count"
)
READY_SECONDS, END_SECONDS = harness.READY_SECONDS, 600


@dataclass(frozen=True)
class Place:
    """A pool with a home of its user's, and the folder of the sessions of its node."""

    pool: CondorPool
    home: Path
    sessions: Path

    @property
    def folder(self) -> Path:
        """The session's."""
        return self.sessions / "mover"

    def password(self) -> str:
        """The session's password."""
        return str(json.loads((self.folder / "credentials.json").read_text())["password"])

    def submit(self, *more: str) -> str:
        """The job; `more` are lines of its description."""
        words = ["run", "--home", str(self.home), "--bind", str(harness.REPO), "--bind", str(self.sessions.parent)]
        words += [str(harness.SIF), "run", "--image", str(harness.DEMO), "--name", "mover", "--resume-if-there"]
        words += ["desk.7lbd", "--session-dir", str(self.sessions), "--at-end", "suspend", "--stop-grace", "120"]
        lines = (
            f"executable = {shutil.which('apptainer')}\ntransfer_executable = false\narguments = {' '.join(words)}",
            f'environment = "HOME={self.home} PATH=/usr/local/bin:/usr/bin:/bin"',
            "should_transfer_files = YES\nwhen_to_transfer_output = ON_EXIT_OR_EVICT",
            "output = out.txt\nerror = err.txt\nrequest_memory = 3G\nrequest_disk = 1G\njob_max_vacate_time = 150",
        )
        return self.pool.submit("\n".join((*lines, *more)))

    def wait_ready(self, job: str) -> None:
        """Until the desktop is there."""
        deadline = time.monotonic() + READY_SECONDS
        while self.phase() != "ready":
            assert self.pool.status(job) in (condor.IDLE, condor.RUNNING), self.pool.why(job)
            assert time.monotonic() < deadline, self.pool.why(job)
            time.sleep(0.5)

    def phase(self) -> str:
        """How far the session is."""
        try:
            return str(json.loads((self.folder / "session.json").read_text())["phase"])
        except (OSError, ValueError):
            return ""


def place(work: Path, name: str, pool: CondorPool) -> Place:
    """A home and a folder for sessions."""
    made = Place(pool, work / name / "home", work / name / "s")
    made.home.mkdir(parents=True)
    made.sessions.mkdir(mode=0o700)
    return made


def test_a_desktop_is_begun_in_one_pool_and_finished_in_another(work: Path) -> None:
    before = harness.my_processes()
    with condor.two(work / "p") as (one, other):
        first, second = place(work, "a", one), place(work, "b", other)
        _begun(first, other.jobs / "desk.7lbd")
        # The user's key goes along once, by hand; the home, and all else in it, is another.
        keys = Path(".local") / "state" / "7lbd" / "saved"
        (second.home / keys).mkdir(parents=True, mode=0o700)
        shutil.copy2(first.home / keys / "key", second.home / keys)
        shutil.rmtree(first.home)
        job = second.submit("transfer_input_files = desk.7lbd", "transfer_output_files = desk.7lbd")
        second.wait_ready(job)
        deadline = time.monotonic() + END_SECONDS
        while not (second.home / "count").exists():
            assert time.monotonic() < deadline, "the guest's work is not done"
            time.sleep(0.5)
        counted = (second.home / "count").read_text().split()
        assert counted == [str(number) for number in range(1, STEPS + 1)], "no number was skipped or told twice"
    assert not harness.wait_until_gone(harness.my_processes() - before)


def _begun(first: Place, target: Path) -> None:
    """The work is begun, and the pool wants its node back; the checkpoint, as the job's output, is put to `target`."""
    job = first.submit("transfer_output_files = desk.7lbd")
    first.wait_ready(job)
    shell = Console(first)
    shell.run(f"(setsid sh -c '{WORK}' </dev/null >/dev/null 2>&1 &)")
    assert 0 < int(shell.run("until [ -s ~/count ]; do sleep 0.2; done; tail -1 ~/count")) < STEPS
    first.pool.call("condor_hold", job)
    shutil.copy2(_checkpoint(first, job), target)
    assert not first.folder.exists(), "nothing is left on the node"
    first.pool.call("condor_rm", job)


def _checkpoint(first: Place, job: str) -> Path:
    """The job's output as its pool keeps it; what is still on its way is in a folder with another name."""
    deadline = time.monotonic() + END_SECONDS
    while True:
        kept = (first.pool.folder / "spool").rglob("desk.7lbd")
        if whole := [path for path in kept if path.parent.suffix != ".tmp"]:
            return whole[0]
        assert time.monotonic() < deadline, first.pool.why(job)
        time.sleep(0.5)
