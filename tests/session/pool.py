"""A pool of the real Slurm that belongs to the ordinary user: its own controller, its own nodes, no root.

SlurmUser and SlurmdUser are that user, so slurmctld(8) and slurmd(8) run as any program; auth/none and
cred/none trust everybody who reaches their ports, which is the loopback of a test's machine. The nodes are one
machine with several slurmd (slurm.conf(5), NodeHostname and Port), told to believe the size they are given
(SlurmdParameters=config_overrides), so that a test may have any allocation it likes. Memory is accounted, not
enforced: there is no cgroup to write to.

A job's SIGTERM goes to the process group of its script (proctrack/pgid). That is nearest to what proctrack/cgroup
does, which signals slurmstepd's own children; for these alone there is `cancel(job, options=["--batch", ...])`.
proctrack/linuxproc would signal every process, the one that Apptainer mounts the SIF by (squashfuse) among them.
"""

from __future__ import annotations

import os
import pwd
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import harness

START_SECONDS = harness.PATIENCE
_REAPER = str(Path(__file__).with_name("reaper.py"))
ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "PREEMPTED", "NODE_FAIL", "OUT_OF_MEMORY", "DEADLINE"}


@dataclass
class Pool:
    """A running pool. `env` is what a process needs to be its user: SLURM_CONF."""

    folder: Path
    nodes: list[str]
    env: dict[str, str]
    daemons: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def call(self, *command: str, text: str = "", env: Mapping[str, str] | None = None) -> str:
        """What a command of Slurm's prints. Raises AssertionError, with its words, when it fails."""
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=harness.PATIENCE, check=False,
            cwd=self.folder / "jobs", env={**os.environ, **self.env, **(env or {})},
        )  # fmt: skip
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}{done.stdout}"
        return done.stdout

    def popen(self, *command: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start srun(1), salloc(1) or whatever else talks to the pool; it is the caller's to end."""
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            cwd=self.folder / "jobs", env={**os.environ, **self.env, **(env or {})},
        )  # fmt: skip

    def sbatch(self, script: str, *options: str, env: Mapping[str, str] | None = None) -> int:
        """Submit a script; its options are in it (#SBATCH) or given. Its output goes to `output(id)`."""
        if not script.startswith("#!"):
            script = f"#!/bin/bash\n{script}"
        return int(self.call("sbatch", "--parsable", *options, text=script, env=env).split(";")[0])

    def show(self, job: int | str) -> dict[str, str]:
        """What `scontrol show job` tells of a job or a task, `25_3`, by its names: JobState, Restarts, NodeList ..."""
        told = self.call("scontrol", "--oneliner", "show", "job", str(job))
        return dict(re.findall(r"(\S+?)=(.*?)(?= \S+?=|\s*$)", told))

    def state(self, job: int) -> str:
        """PENDING, RUNNING, COMPLETED ..."""
        return self.show(job)["JobState"]

    def wait(self, job: int, *states: str, timeout: float = harness.PATIENCE) -> dict[str, str]:
        """Wait until a job is in one of these states (none: in any final one) and return all that is told of it."""
        wanted = set(states) or ENDED
        deadline = time.monotonic() + timeout
        while (told := self.show(job))["JobState"] not in wanted:
            impossible = told["JobState"] in ENDED and not wanted & ENDED
            assert not impossible, f"job {job} is {told['JobState']}:\n{self.output(job)}"
            assert time.monotonic() < deadline, f"job {job} is {told['JobState']}, not {wanted}:\n{self.output(job)}"
            time.sleep(0.3)
        return told

    def wait_output(self, job: int, words: str, timeout: float = harness.PATIENCE) -> str:
        """Wait until a job's output has these words, and return it all."""
        deadline = time.monotonic() + timeout
        while words not in (output := self.output(job)):
            assert self.state(job) not in ENDED, f"job {job} has ended without '{words}':\n{output}"
            assert time.monotonic() < deadline, f"no '{words}' in the output of job {job}:\n{output}"
            time.sleep(0.3)
        return output

    def output(self, job: int) -> str:
        """What a batch job has printed so far."""
        place = Path(self.show(job).get("StdOut", "/nowhere"))
        return place.read_text(errors="replace") if place.is_file() else ""

    def cancel(self, *jobs: int, options: Sequence[str] = ()) -> None:
        """scancel(1); `options` such as `--signal=USR1 --batch`."""
        self.call("scancel", *options, *map(str, jobs))

    def jobs(self) -> list[int]:
        """Jobs that are waiting or running."""
        return [int(line) for line in self.call("squeue", "--noheader", "--format=%A").split()]

    def close(self) -> None:
        """End the jobs, then the daemons."""
        try:
            if left := self.jobs():
                for options in (["--signal=KILL", "--full"], []):
                    with suppress(AssertionError):  # one that has just ended by itself
                        self.cancel(*left, options=options)
                deadline = time.monotonic() + 90
                while self.jobs() and time.monotonic() < deadline:
                    time.sleep(0.3)
        finally:
            for daemon in reversed(self.daemons):
                daemon.send_signal(signal.SIGTERM)
            for daemon in reversed(self.daemons):
                try:
                    daemon.wait(harness.PATIENCE)
                except subprocess.TimeoutExpired:
                    daemon.kill()
                    daemon.wait()

    def story(self) -> str:
        """The daemons' logs, for a failed assertion."""
        return "\n".join(f"--- {log.name}\n{log.read_text()[-3000:]}" for log in (self.folder / "log").iterdir())


@contextmanager
def running(folder: Path, nodes: int = 1, cpus: int = 2, memory_mb: int = 8000, **options: str) -> Iterator[Pool]:
    """A pool in an empty `folder` with a short name (it holds sockets). `options` are more lines of slurm.conf(5).

    There are the nodes node1, node2 ... of `cpus` and `memory_mb` each, and two partitions: main, and urgent,
    whose jobs throw those of main out (and back into the queue).
    """
    names = [f"node{number}" for number in range(1, nodes + 1)]
    for name in ("state", "log", "jobs", *names):
        (folder / name).mkdir(parents=True)
    (folder / "slurm.conf").write_text(_configuration(folder, names, cpus, memory_mb, options))
    pool = Pool(folder, names, {"SLURM_CONF": str(folder / "slurm.conf")})
    try:
        for name, program in [("controller", ["slurmctld"])] + [(name, ["slurmd", "-N", name]) for name in names]:
            with (folder / "log" / f"{name}.out").open("wb") as out:
                # A group of its own: Ctrl-C in a terminal is for the tests, which then end the pool in order.
                daemon = subprocess.Popen(
                    [sys.executable, _REAPER, f"/usr/sbin/{program[0]}", "-D", *program[1:]],
                    stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                    env={**os.environ, **pool.env}, start_new_session=True,
                )  # fmt: skip
            pool.daemons.append(daemon)
        _wait_idle(pool)
        yield pool
    finally:
        pool.close()


def _wait_idle(pool: Pool) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        told = subprocess.run(
            ["sinfo", "--noheader", "--Node", "--format=%N %T"], capture_output=True, text=True,
            timeout=harness.PATIENCE, check=False, env={**os.environ, **pool.env},
        )  # fmt: skip
        if {line.split()[0] for line in told.stdout.splitlines() if line.endswith(" idle")} == set(pool.nodes):
            return
        ended = [daemon.args for daemon in pool.daemons if daemon.poll() is not None]
        assert not ended, f"{ended} ended:\n{pool.story()}"
        assert time.monotonic() < deadline, f"the nodes are not idle: {told.stdout}{told.stderr}\n{pool.story()}"
        time.sleep(0.3)


def _configuration(folder: Path, names: Sequence[str], cpus: int, memory_mb: int, more: Mapping[str, str]) -> str:
    host, user = socket.gethostname().split(".")[0], _user()
    ports = harness.free_ports(len(names) + 1)
    values = {
        "ClusterName": "test",
        "SlurmctldHost": f"{host}(127.0.0.1)",
        "SlurmUser": user,
        "SlurmdUser": user,
        "AuthType": "auth/none",
        "CredType": "cred/none",
        "SlurmctldPort": str(ports[0]),
        "StateSaveLocation": str(folder / "state"),
        "SlurmdSpoolDir": f"{folder}/%n",
        "SlurmctldPidFile": str(folder / "controller.pid"),
        "SlurmdPidFile": f"{folder}/%n.pid",
        "SlurmctldLogFile": str(folder / "log" / "controller.log"),
        "SlurmdLogFile": f"{folder}/log/%n.log",
        "ProctrackType": "proctrack/pgid",
        "TaskPlugin": "task/none",
        "SwitchType": "switch/none",
        "MpiDefault": "none",
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_Core_Memory",
        "SlurmdParameters": "config_overrides",
        "JobAcctGatherType": "jobacct_gather/none",
        "AccountingStorageType": "accounting_storage/none",
        "PreemptType": "preempt/partition_prio",
        "PreemptMode": "REQUEUE",
        "ReturnToService": "2",
        "KillWait": "30",
        "MessageTimeout": "100",  # seconds; a controller that does other work answers late
        "MailProg": "/bin/true",
        **more,
    }
    lines = [f"{name}={value}" for name, value in values.items()]
    for name, port in zip(names, ports[1:], strict=True):
        size = f"CPUs={cpus} RealMemory={memory_mb} State=UNKNOWN"
        lines.append(f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} {size}")
    all_nodes = ",".join(names)
    lines += [
        f"PartitionName=main Nodes={all_nodes} Default=YES MaxTime=INFINITE State=UP PriorityTier=1",
        f"PartitionName=urgent Nodes={all_nodes} MaxTime=INFINITE State=UP PriorityTier=9 PreemptMode=OFF",
    ]
    return "\n".join(lines) + "\n"


def _user() -> str:
    return pwd.getpwuid(os.getuid()).pw_name
