"""A pool of the real HTCondor that belongs to the ordinary user: central manager, queue and nodes, no root.

Debian 13's HTCondor (scripts/condor-tree) runs on this machine's own file tree, so its jobs find the machine's
Apptainer. All of a pool is behind one TCP port of the loopback (condor_shared_port), and two pools stand side by side
in one network namespace (BIND_ALL_INTERFACES). A node is a startd of its own, with its own execute folder, and is told
to believe the size it is given. Intervals are short: a job begins within seconds.

Whoever is asked for a token of the other pool's finds it in `token`: IDTOKENS, as between sites. Within a pool its user
is known by the file system (FS).
"""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import harness

TREE = harness.REPO / "build" / "condor" / "tree"
START_SECONDS = harness.PATIENCE
END_SECONDS = 90
_ANSWER_SECONDS = 60  # until a queue that does other work tells of a job
IDLE, RUNNING, REMOVED, COMPLETED, HELD = 1, 2, 3, 4, 5
"""JobStatus of a job's ad."""
COMMANDS = f"{TREE}/usr/bin:{TREE}/usr/sbin"


@dataclass
class CondorPool:
    """A running pool. `env` is what a process needs to be its user."""

    folder: Path
    domain: str
    port: int
    nodes: tuple[str, ...]
    env: dict[str, str]
    prefix: tuple[str, ...] = ()
    """What brings a command to where the pool is, when that is another network namespace."""
    host: str = "127.0.0.1"
    master: subprocess.Popen[bytes] = field(init=False)

    @property
    def address(self) -> str:
        """Of the collector, and of all that is behind its port."""
        return f"{self.host}:{self.port}"

    def begin(self) -> None:
        """Start the daemons, and wait until they know each other."""
        with (self.folder / "log" / "master.out").open("ab") as out:
            # A group of its own: Ctrl-C in a terminal is for the tests, which then end the pool in order.
            self.master = subprocess.Popen(
                [*self.prefix, f"{TREE}/usr/sbin/condor_master", "-f"], stdin=subprocess.DEVNULL, stdout=out,
                stderr=out, env=harness.environment(self.env), start_new_session=True, cwd=self.folder,
            )  # fmt: skip
        _wait_ready(self)

    def kill(self) -> None:
        """End all of its daemons at once, by SIGKILL."""
        for process in harness.descendants(self.master.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self.master.kill()
        self.master.wait()

    @property
    def jobs(self) -> Path:
        """Where jobs are submitted, and their files come back."""
        return self.folder / "jobs"

    def attempt(self, *command: str, text: str = "") -> subprocess.CompletedProcess[str]:
        """A command of HTCondor's, whatever comes of it."""
        return subprocess.run(
            [*self.prefix, *command], input=text, capture_output=True, text=True, timeout=harness.PATIENCE, check=False,
            cwd=self.jobs, env=harness.environment(self.env),
        )  # fmt: skip

    def call(self, *command: str, text: str = "") -> str:
        """What a command prints. Raises AssertionError, with its words, when it fails."""
        done = self.attempt(*command, text=text)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}{done.stdout}"
        return done.stdout

    def submit(self, description: str, *options: str) -> str:
        """Submit a description; returns the job's id, `3.0`. Without a `queue` of its own it is one job."""
        if "\nqueue" not in f"\n{description}":
            description += "\nqueue\n"
        told = self.call("condor_submit", "-terse", *options, "-", text=description)
        return told.split()[0]

    def ad(self, job: str, *names: str) -> list[str]:
        """Attributes of a job, of one that has left the queue, too; `undefined` for what it does not have.

        A queue that is at work may not answer at once, and for a moment a job is in neither list: then once more.
        """
        deadline = time.monotonic() + _ANSWER_SECONDS
        while True:
            for source in (["condor_q"], ["condor_history", "-limit", "1"]):
                done = self.attempt(*source, job, "-autoformat:t", *names)
                if done.returncode == 0 and (told := done.stdout.splitlines()):
                    return told[0].split("\t")
            if time.monotonic() > deadline:
                return ["undefined"] * len(names)
            time.sleep(0.3)

    def status(self, job: str) -> int:
        """IDLE, RUNNING ...; 0 for one that nobody knows."""
        told = self.ad(job, "JobStatus")[0]
        return int(told) if told.isdigit() else 0

    def wait(self, job: str, *wanted: int, timeout: float = harness.PATIENCE) -> int:
        """Wait until a job is in one of these states; without any, until it has ended."""
        states = set(wanted) or {REMOVED, COMPLETED}
        deadline = time.monotonic() + timeout
        while (state := self.status(job)) not in states:
            assert time.monotonic() < deadline, f"job {job} is {state}, not {states}:\n{self.why(job)}"
            time.sleep(0.3)
        return state

    def starts(self, job: str) -> int:
        """How often it has begun, as of its last end."""
        told = self.ad(job, "NumJobStarts")[0]
        return int(told) if told.isdigit() else 0

    def wait_begun(self, job: str, log: Path, times: int = 1, timeout: float = harness.PATIENCE) -> None:
        """Wait until it has begun so often, by its `log`: RUNNING says no more than that somebody sees to it.

        Source: HTCondor's manual, Job Event Log Codes (001).
        """
        deadline = time.monotonic() + timeout
        while (begun := log.read_text().count("\n001 (") if log.exists() else 0) < times:
            assert time.monotonic() < deadline, f"job {job} has begun {begun} times, not {times}:\n{self.why(job)}"
            time.sleep(0.3)

    def why(self, job: str) -> str:
        """What HTCondor says of a job that is not where it is expected, for a failed assertion."""
        analysis = self.attempt("condor_q", "-better-analyze", job).stdout
        return f"{self.ad(job, 'HoldReason', 'RemoteHost')}\n{analysis}\n{self.story()}"

    def slots(self, *names: str, constraint: str = "true") -> list[list[str]]:
        """Attributes of the nodes that the collector knows."""
        told = self.call("condor_status", "-constraint", constraint, "-autoformat:t", *names)
        return [line.split("\t") for line in told.splitlines()]

    def token(self) -> str:
        """One by which the pool's user is known from elsewhere."""
        identity = f"{_user()}@{self.domain}"
        return self.call("condor_token_create", "-identity", identity, "-lifetime", "3600").strip()

    def close(self) -> None:
        """End the jobs, then the daemons, in order; and whatever is left by its id."""
        with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
            self.attempt("condor_rm", "-all")  # says that it failed when there are none
            self._until_empty()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.attempt("condor_off", "-fast", "-master")
        try:
            self.master.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def _until_empty(self) -> None:
        deadline = time.monotonic() + END_SECONDS
        while self.call("condor_q", "-autoformat", "ClusterId").strip() and time.monotonic() < deadline:
            time.sleep(0.3)

    def story(self) -> str:
        """The daemons' logs, for a failed assertion."""
        logs = sorted(path for path in (self.folder / "log").iterdir() if path.is_file() and "Log" in path.name)
        return "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')[-2000:]}" for log in logs)


@contextmanager
def running(
    folder: Path,
    nodes: Sequence[str] = ("node1",),
    cpus: int = 2,
    memory_mb: int = 8000,
    domain: str = "pool.test",
    options: Mapping[str, str] | None = None,
    host: str = "127.0.0.1",
    prefix: Sequence[str] = (),
) -> Iterator[CondorPool]:
    """A pool in an empty `folder` with a short name (it holds sockets).

    `options` are more lines of its configuration; those of one node begin with its name and a dot, `node1.START`.
    `prefix` is a command that brings it to another network namespace, where it has the address `host`.
    """
    subprocess.run([harness.REPO / "scripts" / "condor-tree"], check=True, timeout=600)
    for name in ("log", "spool", "lock", "s", "jobs", *nodes):
        (folder / name).mkdir(parents=True)
    for name in ("passwords", "tokens"):
        (folder / name).mkdir(mode=0o700)
    (folder / "sshd_template").write_text(_sshd_template())
    (port,) = harness.free_ports(1)
    of_host = {"CONDOR_HOST": host, "COLLECTOR_HOST": f"{host}:{port}", "NETWORK_INTERFACE": host}
    more = of_host | dict(options or {})
    (folder / "condor_config").write_text(_configuration(folder, nodes, cpus, memory_mb, domain, port, more))
    env = {"CONDOR_CONFIG": str(folder / "condor_config"), "PATH": f"{COMMANDS}:{os.environ['PATH']}"}
    pool = CondorPool(folder, domain, port, tuple(nodes), env, tuple(prefix), host)
    try:
        pool.begin()
        yield pool
    finally:
        pool.close()


@contextmanager
def two(folder: Path, options: Mapping[str, str] | None = None) -> Iterator[tuple[CondorPool, CondorPool]]:
    """Two pools that know nothing of each other but the second's address, and a token of the second's for its user."""
    with (
        running(folder / "a", domain="a.test", options=options) as first,
        running(folder / "b", domain="b.test", options=options) as second,
    ):
        known = first.folder / "tokens" / "second"
        known.write_text(second.token() + "\n")
        known.chmod(0o600)
        yield first, second


def schedd(pool: CondorPool) -> str:
    """The queue's name, as `condor_submit -remote` and `grid_resource` want it."""
    return pool.call("condor_status", "-schedd", "-autoformat", "Name").strip()


def _wait_ready(pool: CondorPool) -> None:
    """Until all nodes and the queue are known."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        known = pool.attempt("condor_status", "-autoformat", "Name").stdout
        queue = pool.attempt("condor_status", "-schedd", "-autoformat", "Name").stdout
        if queue.strip() and all(f"@{node}@" in known for node in pool.nodes):
            return
        assert pool.master.poll() is None, f"the pool ended:\n{pool.story()}"
        assert time.monotonic() < deadline, f"the pool is not up: {known}{queue}\n{pool.story()}"
        time.sleep(0.3)


def _configuration(
    folder: Path, nodes: Sequence[str], cpus: int, memory_mb: int, domain: str, port: int, more: Mapping[str, str]
) -> str:
    us = f"{_user()}@{domain}"
    values = {
        **_of_places(folder),
        **{f"ALLOW_{level}": us for level in ("WRITE", "DAEMON", "NEGOTIATOR", "ADMINISTRATOR")},
        "ALLOW_READ": "*",
        "SEC_DEFAULT_AUTHENTICATION_METHODS": "FS, IDTOKENS",
        "COLLECTOR_BOOTSTRAP_SSL_CERTIFICATE": "False",
        "UID_DOMAIN": domain,
        "TRUST_DOMAIN": domain,
        # Nobody is asked for the name: a test may have changed it.
        "NETWORK_HOSTNAME": socket.gethostname(),
        "BIND_ALL_INTERFACES": "False",
        "USE_SHARED_PORT": "True",
        "SHARED_PORT_PORT": str(port),
        "NUM_CPUS": str(cpus),
        "MEMORY": str(memory_mb),
        "DAEMON_LIST": ", ".join(["MASTER, SHARED_PORT, COLLECTOR, NEGOTIATOR, SCHEDD", *map(_daemon, nodes)]),
        "DC_DAEMON_LIST": f"+{' '.join(map(_daemon, nodes))}",
        **{name: value for node in nodes for name, value in _of_node(node, folder).items()},
        **_quick(),
        **_of_ssh(folder),
        **more,
    }
    lines = ["use SECURITY: recommended_v9_0", *(f"{name} = {value}" for name, value in values.items())]
    return "\n".join(lines) + "\n"


def _of_places(folder: Path) -> dict[str, str]:
    return {
        "RELEASE_DIR": f"{TREE}/usr",
        "BIN": f"{TREE}/usr/bin",
        "SBIN": f"{TREE}/usr/sbin",
        "LIB": f"{TREE}/usr/lib/condor",
        "LIBEXEC": f"{TREE}/usr/libexec/condor",
        "SHARE": f"{TREE}/usr/share/condor",
        "LOCAL_DIR": str(folder),
        "LOG": str(folder / "log"),
        "SPOOL": str(folder / "spool"),
        "LOCK": str(folder / "lock"),
        "RUN": str(folder / "lock"),
        "DAEMON_SOCKET_DIR": str(folder / "s"),
        "SEC_PASSWORD_DIRECTORY": str(folder / "passwords"),
        "SEC_TOKEN_SYSTEM_DIRECTORY": str(folder / "tokens"),
        "SEC_TOKEN_DIRECTORY": str(folder / "tokens"),
        "LOCAL_CONFIG_DIR": "",
        "LOCAL_CONFIG_FILE": "",
    }


def _daemon(node: str) -> str:
    return f"STARTD_{node.upper()}"


def _of_node(node: str, folder: Path) -> dict[str, str]:
    """A startd by the name of its node, beside others of the same master (-local-name)."""
    return {
        _daemon(node): "$(STARTD)",
        f"{_daemon(node)}_ARGS": f"-local-name {node}",
        f"{node}.STARTD_NAME": node,
        f"{node}.EXECUTE": str(folder / node),
        f"{node}.STARTD_LOG": f"{folder}/log/StartLog.{node}",
        f"{node}.STARTD_ADDRESS_FILE": f"{folder}/log/.startd_address.{node}",
    }


def _quick() -> dict[str, str]:
    """Seconds, for tests: HTCondor's own are made for pools of ten thousand nodes."""
    return {
        "NEGOTIATOR_INTERVAL": "2",
        "NEGOTIATOR_CYCLE_DELAY": "1",
        "NEGOTIATOR_MIN_INTERVAL": "1",
        "SCHEDD_INTERVAL": "2",
        "SCHEDD_MIN_INTERVAL": "1",
        "UPDATE_INTERVAL": "4",
        "POLLING_INTERVAL": "1",
        "STARTER_UPDATE_INTERVAL": "4",
        "STARTER_INITIAL_UPDATE_INTERVAL": "1",
        "PERIODIC_EXPR_INTERVAL": "2",
        "DAGMAN_USER_LOG_SCAN_INTERVAL": "1",
        "GRIDMANAGER_JOB_PROBE_INTERVAL": "2",
        "CONDOR_JOB_POLL_INTERVAL": "2",
        "GRIDMANAGER_GAHPCLIENT_CONTACT_SCHEDD_DELAY": "1",
        "C_GAHP_CONTACT_SCHEDD_DELAY": "1",
        "JOB_START_DELAY": "0",
        "DAGMAN_USE_STRICT": "0",  # which refuses logs below /tmp
        "RUNBENCHMARKS": "False",
        "PREEN": "",
        "MASTER_NEW_BINARY_RESTART": "NEVER",
    }


def _of_ssh(folder: Path) -> dict[str, str]:
    options = (
        "-oUser=%u -oIdentityFile=%i -oStrictHostKeyChecking=yes -oUserKnownHostsFile=%k -oGlobalKnownHostsFile=%k"
    )
    return {
        "SSH_TO_JOB_SSHD": f"{TREE}/usr/sbin/sshd",
        "SSH_TO_JOB_SSH_KEYGEN": f"{TREE}/usr/bin/ssh-keygen",
        "SSH_TO_JOB_SSH_CMD": f'"{TREE}/usr/bin/ssh {options} -oProxyCommand=%x %h"',
        "SSH_TO_JOB_SSHD_CONFIG_TEMPLATE": str(folder / "sshd_template"),
    }


def _sshd_template() -> str:
    """HTCondor's own, without options that this sshd has forgotten, and with its helpers where they are here."""
    lines = (TREE / "usr" / "lib" / "condor" / "condor_ssh_to_job_sshd_config_template").read_text().splitlines()
    kept = [line for line in lines if not line.startswith(("UsePrivilegeSeparation", "Protocol"))]
    helpers = TREE / "usr" / "lib" / "openssh"
    return "\n".join([*kept, f"SshdSessionPath {helpers}/sshd-session", f"SshdAuthPath {helpers}/sshd-auth"]) + "\n"


def _user() -> str:
    return pwd.getpwuid(os.getuid()).pw_name
