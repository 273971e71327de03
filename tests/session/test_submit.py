"""From a login node: a desktop is submitted, followed, reached, and stopped on a node of the real Slurm."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import harness
import pexpect
import pool
import pytest
import strange
import submit_node
from pool import Pool
from submit_node import SubmitNode

BROKE, NO_SESSION, NODE, INTERRUPTED = 8, 9, 4, 130
READY_SECONDS = harness.READY_SECONDS


@dataclass
class Login(SubmitNode):
    """With Slurm's commands."""

    slurm: Pool

    @property
    def sessions(self) -> Path:
        """Where sessions are on the nodes; not seen from the login node."""
        return self.folder / "node" / f"7lbd-{os.getuid()}"

    def refused(self, *words: str, code: int, says: list[str]) -> None:
        """A command is refused, and says why and what helps."""
        strange.refusal(self.ended(*words), code, says)

    def terminal(self, *words: str) -> Any:
        """A command on a terminal there."""
        whole = [*self.prefix, *words]
        return pexpect.spawn(
            whole[0], whole[1:], cwd=str(self.cwd), timeout=harness.PATIENCE, encoding="utf-8", dimensions=(50, 200),
            env=harness.environment({**self.env, "TERM": "xterm", "NO_COLOR": "1"}),
        )  # fmt: skip


@pytest.fixture(scope="module")
def cluster(work: Path) -> Iterator[Login]:
    """A pool of two nodes, and its login node."""
    place = work / "c"
    for name in ("login", "node", "home"):
        (place / name).mkdir(parents=True)
    submit_node.site(place, "slurm", time="20m", setup=[f"export TMPDIR={place}/node"])
    before = harness.my_processes()
    with pool.running(place / "pool", nodes=2, cpus=2, memory_mb=3000) as slurm:
        yield Login(place, "login1", place / "home", slurm.env, slurm)
    assert not harness.wait_until_gone(harness.my_processes() - before)


@pytest.fixture
def login(cluster: Login) -> Iterator[Login]:
    """A login node, where a test leaves no job, no record and no session behind."""
    yield cluster
    left = cluster.slurm.jobs()
    for job in left:
        cluster.slurm.cancel(job)
        cluster.slurm.wait(job)
    assert not left
    assert cluster.records() == []
    sessions = cluster.sessions.iterdir() if cluster.sessions.exists() else []
    assert [path.name for path in sessions if not path.name.startswith("failed-")] == []


def handed_in(told: str) -> int:
    found = re.search(r"job (\d+) is handed in", told)
    assert found, told
    return int(found[1])


def blank(image: Path, *more: str) -> list[str]:
    """What starts a machine without a system in a second."""
    return ["--image", str(image), "--memory", "256M", *more]


def test_a_desktop_from_the_queue_to_its_end(login: Login) -> None:
    """One boot, seen from the login node's terminal all along."""
    terminal = login.terminal("7lbd", "submit", "--image", str(harness.DEMO))
    terminal.expect(r"session job(\d+) ")
    job = int(str(terminal.match[1]))
    terminal.expect(rf"READY after \d+ s: session job{job} on", timeout=READY_SECONDS)
    terminal.expect(r"Open (http://\S+)#token=(\S+)")
    url, token = str(terminal.match[1]), str(terminal.match[2])
    terminal.expect(rf"7lbd connect job{job} --password")
    terminal.expect(rf"stop: 7lbd stop job{job}")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0
    host = os.uname().nodename
    assert f"job{job}  ready  up " in (status := login.call("7lbd", "status"))
    assert f"on {host}, job {job}" in status
    assert f"session job{job} on {host}" in (told := login.call("7lbd", "connect"))
    assert f"scp {os.environ['USER']}@login1:" in told, "the .rdp file was written on the login node"
    assert f"ssh -J {os.environ['USER']}@login1 -L " in told, "the user's own computer comes through the login node"
    assert token not in told, "no key where there is no terminal"
    assert login.call("7lbd", "connect", str(job), "--url").strip() == f"{url}#token={token}"
    assert opened(url, token), "the key opens the page"
    password = login.call("7lbd", "connect", "--password").strip()
    assert len(password) == 24
    new = login.call("7lbd", "connect", "--renew").split()[0].rpartition("#token=")[2]
    assert login.call("7lbd", "connect", "--url").strip() == f"{url}#token={new}"
    assert not opened(url, token)
    file = login.folder / "state" / "saved" / f"job{job}.7lbd"
    assert str(file) in login.call("7lbd", "suspend", f"job{job}", "--keep-running"), "on its node, in its job"
    assert str(file) in login.call("7lbd", "saved", "check", str(file))
    assert f"job{job}  ready  up " in login.call("7lbd", "status"), "and it has not ended"
    output = login.slurm.output(job)
    for secret in (token, new, password):
        assert secret not in output
    record = login.folder / "state" / "sessions" / f"job{job}@{host}"
    assert password not in "".join(path.read_text() for path in record.iterdir())
    again = suspended_and_gone_on(login, job)
    assert "has ended" in login.call("7lbd", "stop")
    assert completed(login, again)
    assert "the guest shut down" in login.slurm.output(again)
    login.call("7lbd", "saved", "rm", str(file))
    assert not file.exists()


def completed(login: Login, job: int) -> bool:
    """Whether a job has ended well, as Slurm says."""
    told = login.slurm.wait(job)
    assert (told["JobState"], told["ExitCode"]) == ("COMPLETED", "0:0"), login.slurm.output(job)
    return True


def suspended_and_gone_on(login: Login, job: int) -> int:
    """The number of another job, in which the desktop goes on that its user has suspended from the login node."""
    file = login.folder / "state" / "saved" / f"job{job}.7lbd"
    told = login.call("7lbd", "suspend", str(job))
    assert f"session job{job} is saved in {file}" in told, "though the call ends with the job that it was made in"
    assert f"7lbd submit --resume job{job}" in told
    assert completed(login, job), "its user has ended it: no 85, by which a scheduler would start it again"
    assert f"suspended: job{job}  demo" in login.call("7lbd", "status")
    told = login.call("7lbd", "submit", "--resume", f"job{job}", "--image", str(harness.DEMO))
    again = handed_in(told)
    assert again != job
    assert "READY after" in told
    assert "suspended:" not in login.call("7lbd", "status"), "it runs"
    return again


def opened(url: str, token: str) -> bool:
    """Whether a key still opens the page (the browser posts it, for a cookie)."""
    where = urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=60)
    connection.request("GET", "/api/status", headers={"Authorization": f"Bearer {token}"})
    return connection.getresponse().status == 200


def test_a_job_that_waits_is_shown_left_alone_and_taken_out(login: Login, blank_image: Path) -> None:
    """Ctrl-C ends the following, never the job."""
    hogs = [login.slurm.sbatch("sleep 1800", "--exclusive", "--nodes=1", "--mem=0") for _ in range(2)]
    terminal = login.terminal("7lbd", "submit", *blank(blank_image))
    terminal.expect(r"job (\d+) pending: Resources")
    job = int(str(terminal.match[1]))
    terminal.sendintr()
    terminal.expect(rf"job {job} goes on; how it does: 7lbd status; to end it: 7lbd stop job{job}")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == INTERRUPTED
    assert login.slurm.state(job) == "PENDING"
    assert f"job{job}  pending: Resources" in login.call("7lbd", "status")
    login.refused("7lbd", "connect", f"job{job}", code=NO_SESSION, says=[f"job {job} has no session yet", "pending"])
    assert f"job {job} is taken out of the queue" in login.call("7lbd", "stop", str(job))
    assert login.slurm.state(job) == "CANCELLED"
    login.slurm.cancel(*hogs)
    for hog in hogs:
        login.slurm.wait(hog)


def test_a_job_that_fails_tells_why(login: Login, blank_image: Path) -> None:
    told = login.call("7lbd", "submit", *blank(blank_image), "--sbatch=--mem=300M", code=BROKE)
    job = handed_in(told)
    assert f"job {job} has ended without a desktop that was ready (failed, exit code 5:0)" in told
    assert "  | 7lbd: 0.2 GiB for the guest and 0.5 GiB for its helpers make 0.8 GiB" in told
    assert f"all of its output: {login.folder}/home/7lbd-{job}.log" in told
    nowhere = ["7lbd", "submit", *blank(blank_image), "--partition", "nowhere"]
    login.refused(*nowhere, code=2, says=["sbatch does not take the job", "nowhere"])


def test_a_task_of_an_array_goes_by_the_number_that_squeue_shows(login: Login, blank_image: Path) -> None:
    script = login.call("7lbd", "render", "slurm", *blank(blank_image), "--sbatch=--array=3-4%1")
    array = login.slurm.sbatch(script, env=login.env)
    running, waiting = f"{array}_3", f"{array}_4"
    login.until(f"job {running}", "7lbd", "status")
    assert f"session job{login.slurm.show(running)['JobId']} on" in login.call("7lbd", "connect", running)
    assert "has no session yet" in login.call("7lbd", "connect", waiting, code=NO_SESSION)
    assert f"job {waiting} is taken out of the queue" in login.call("7lbd", "stop", waiting)
    assert login.slurm.show(running)["JobState"] == "RUNNING"
    assert "has ended" in login.call("7lbd", "stop", running)
    login.slurm.wait(array)


def test_options_of_sbatch_with_spaces_and_quotes_come_to_slurm_as_they_are(login: Login, blank_image: Path) -> None:
    comment = 'two  words, it\'s "so" # $HOME `id` \\ é'
    script = login.call("7lbd", "render", "slurm", *blank(blank_image), f"--sbatch=--comment={comment}", "--sbatch=-H")
    job = login.slurm.sbatch(script, env=login.env)
    assert login.slurm.show(job)["Comment"].rstrip() == comment
    assert login.slurm.show(job)["Reason"] == "JobHeldUser", "the options behind it are heard, too"
    login.slurm.cancel(job)


def test_a_shell_that_keeps_slurms_signals_is_warned_of(login: Login, blank_image: Path) -> None:
    env = {**login.env, "TMPDIR": str(login.folder / "node")}
    call = f"7lbd run {' '.join(blank(blank_image, '--for', '4s'))}"
    for wrapped, warned in ((call, True), (f"exec {call}", False)):
        job = int(login.slurm.call("sbatch", "--parsable", "--mem=900", "--wrap", wrapped, env=env))
        login.slurm.wait(job)
        assert ("stays with its shell, `slurm_script`" in login.slurm.output(job)) is warned, login.slurm.output(job)


def test_every_kind_of_job_is_stopped_from_the_login_node(login: Login, blank_image: Path) -> None:
    """A script that does not end in an exec, a step, a rendered one at once; one in order ends the test above."""
    words = " ".join(blank(blank_image))
    rendered = login.call("7lbd", "render", "slurm", *blank(blank_image))
    scripts = {
        "script that goes on after it": f"#!/bin/bash\n7lbd run {words}\necho the script goes on\n",
        "step": f"#!/bin/bash\nsrun --ntasks=1 7lbd run {words}\n",
    }
    for kind, script in scripts.items():
        job = login.slurm.sbatch(script, "--mem=900", env={**login.env, "TMPDIR": str(login.folder / "node")})
        login.until("booting", "7lbd", "status")
        told = login.call("7lbd", "stop")
        assert "has ended" in told, kind
        login.slurm.wait(job)
        output = login.slurm.output(job)
        assert "nothing is left behind" in output, f"{kind}: {output}"
        assert ("the script goes on" in output) is ("goes on" in script)
    job = login.slurm.sbatch(rendered, env=login.env)
    login.until(f"job {job}", "7lbd", "status")
    assert "has ended" in login.call("7lbd", "stop", "--now", str(job))
    login.slurm.wait(job)


def test_what_a_killed_session_left_is_told_and_removed(login: Login, blank_image: Path) -> None:
    job = login.slurm.sbatch(login.call("7lbd", "render", "slurm", *blank(blank_image)), env=login.env)
    login.until("booting", "7lbd", "status")
    [record] = login.records()
    supervisor = json.loads((login.folder / "state" / "sessions" / record / "session.json").read_text())["pid"]
    os.kill(supervisor, signal.SIGKILL)
    login.slurm.wait(job)
    told = login.call("7lbd", "status")
    assert "no session of yours is running" in told
    assert "1 left word and are gone; to remove it: 7lbd gc" in told
    assert f"removed {login.folder}/state/sessions/{record}" in login.call("7lbd", "gc")
    harness.run("gc", "--session-dir", str(login.sessions))


def test_without_a_shared_folder_the_session_runs_and_says_so(login: Login, blank_image: Path) -> None:
    told = login.call("7lbd", "submit", *blank(blank_image), "--state-dir", "/proc/nowhere", "--report-dir", "/proc/x")
    job = handed_in(told)
    assert f"job {job} runs, but no word of its session can be seen here (/proc/nowhere" in told
    assert f"7lbd-{job}.log" in told
    output = login.slurm.wait_output(job, "booting")
    assert "/proc/nowhere/sessions" in output.replace("/proc/nowhere:", "/proc/nowhere/sessions:")
    assert "other nodes learn nothing of this session" in output
    assert "the portal learns nothing of this session" in output
    login.slurm.cancel(job)
    login.slurm.wait(job)


def test_without_the_nodes_commands_it_says_how_to_have_them(login: Login, blank_image: Path) -> None:
    bare = harness.command("submit", *blank(blank_image), options=["--bind", f"{login.folder}/site"])
    login.refused(
        *bare, code=NODE, says=["`sbatch` cannot be reached from inside the container", "7lbd render command"]
    )
