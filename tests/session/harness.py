"""What session tests are made of: the real SIF, run by the real Apptainer as an ordinary user."""

from __future__ import annotations

import base64
import ctypes
import json
import os
import queue
import random
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pexpect
import pexpect.fdpexpect

REPO = Path(__file__).parents[2]
SIF = REPO / "build" / "7lbd.sif"
DEMO = REPO / "build" / "images" / "demo"
KEPT = REPO / "build" / "test-failures"
"""Where logs and screens are kept for people to look at."""
GUEST, HOST = "169.254.100.15", "169.254.100.2"
READY_SECONDS = 600.0
PATIENCE = 240.0
"""Seconds for what takes a few by itself: on a slow machine, beside others, it takes many. Waiting costs nothing."""
FINAL = {"ended", "failed", "suspended"}


def command(*arguments: str, options: Sequence[str] = (), sif: Path = SIF) -> list[str]:
    """The command line of `apptainer run`, with `options` for Apptainer."""
    return ["apptainer", "run", "--bind", str(REPO), *options, str(sif), *arguments]


def environment(extra: Mapping[str, str | None] | None = None) -> dict[str, str]:
    """Our environment with changes; None takes a variable out."""
    merged = {**os.environ, **(extra or {})}
    return {name: value for name, value in merged.items() if value is not None}


def run(
    *arguments: str,
    options: Sequence[str] = (),
    env: Mapping[str, str | None] | None = None,
    prefix: Sequence[str] = (),
    timeout: float = PATIENCE,
    umask: int = -1,
    cwd: Path | None = None,
    sif: Path = SIF,
) -> subprocess.CompletedProcess[str]:
    """Run the appliance to its end. `prefix` is a command that wraps the whole (unshare, sh -c ...)."""
    return subprocess.run(
        [*prefix, *command(*arguments, options=options, sif=sif)],
        env=environment(env),
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout,
        umask=umask,
        cwd=cwd,
        check=False,
    )


def tool(*arguments: str, timeout: float = PATIENCE) -> str:
    """Run a program of the SIF (qemu-img, smbclient's peer ...) and return what it prints."""
    call = ["apptainer", "exec", "--bind", str(REPO), str(SIF), *arguments]
    return subprocess.run(call, capture_output=True, text=True, timeout=timeout, check=True).stdout


def free_ports(number: int) -> list[int]:
    """Ports that nobody listens at, and that the kernel gives to nobody who asks for any.

    Those have theirs from 32768 on (ip(7), ip_local_port_range): between looking and binding nobody comes.
    """
    found: set[int] = set()
    while len(found) < number:
        port = random.randrange(15000, 32000)
        with socket.socket() as one, suppress(OSError):
            one.bind(("127.0.0.1", port))
            found.add(port)
    return list(found)


def shim() -> Path:
    """A boot loader that Microsoft has signed, fetched from Debian when it is not there."""
    subprocess.run([REPO / "scripts" / "fetch-shim"], check=True, timeout=300)
    return REPO / "build" / "shim" / "shimx64.efi"


def in_partition(disk: Path, start: int, size: int, request: str) -> str:
    """What debugfs(8) says to a request in an ext4 partition of a qcow2 disk; start and size in sectors."""
    raw = disk.parent.parent / "partition.raw"
    source = f"driver=raw,offset={start * 512},size={size * 512},file.driver=qcow2,file.file.filename={disk}"
    tool("qemu-img", "convert", "-U", "-O", "raw", "--image-opts", source, str(raw), timeout=120)
    try:
        call = ["/usr/sbin/debugfs", "-R", request, str(raw)]
        return subprocess.run(call, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True).stdout
    finally:
        raw.unlink()


@dataclass
class Session:
    """A running `7lbd run --json`, its events as they come."""

    process: subprocess.Popen[str]
    base: Path
    apart: bool = False
    """Whether it lives in a mount namespace of its own, so that its folder is seen only through /proc."""
    events: list[dict[str, Any]] = field(default_factory=list)
    errors: str = ""
    _queue: queue.Queue[dict[str, Any] | None] = field(default_factory=queue.Queue)
    _readers: list[threading.Thread] = field(default_factory=list)

    def _begin(self) -> Session:
        for target in (self._read_events, self._read_errors):
            thread = threading.Thread(target=target, daemon=True)
            thread.start()
            self._readers.append(thread)
        return self

    def _read_events(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            with suppress(ValueError):
                event = json.loads(line)
                self.events.append(event)
                self._queue.put(event)
        self._queue.put(None)

    def _read_errors(self) -> None:
        assert self.process.stderr
        self.errors = self.process.stderr.read()

    def wait_event(self, kind: str, timeout: float = READY_SECONDS, **fields: str) -> dict[str, Any]:
        """The first event of this kind and these fields, from the beginning. Fails when the session ends without it."""
        deadline = time.monotonic() + timeout
        seen = 0
        while True:
            for event in self.events[seen:]:
                seen += 1
                if event["event"] == kind and all(event.get(name) == value for name, value in fields.items()):
                    return event
            try:
                more = self._queue.get(timeout=max(0.01, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no {kind} {fields} within {timeout} s:\n{self.story()}") from None
            if more is None and seen == len(self.events):
                self._queue.put(None)
                raise AssertionError(f"the session ended without {kind} {fields}:\n{self.story()}")

    def wait_phase(self, phase: str, timeout: float = READY_SECONDS) -> dict[str, Any]:
        """The event of a phase."""
        return self.wait_event("phase", timeout, phase=phase)

    def wait_end(self, timeout: float = PATIENCE) -> int:
        """The exit code."""
        code = self.process.wait(timeout)
        for reader in self._readers:
            reader.join(10)
        return code

    def story(self) -> str:
        """All that the session has told, and what its guest printed last, for a failed assertion."""
        told = "\n".join(json.dumps(event) for event in self.events) + "\n" + self.errors
        if any(event["event"] == "phase" for event in self.events):
            with suppress(OSError):
                told += "\nserial line: " + (self.folder / "logs" / "serial.log").read_text(errors="replace")[-2000:]
        return told

    @property
    def folder(self) -> Path:
        """The session folder."""
        folder = self.wait_event("phase", PATIENCE)["folder"]
        return Path(f"/proc/{self.process.pid}/root{folder}") if self.apart else Path(folder)

    @property
    def id(self) -> str:
        """The session's id."""
        return self.folder.name

    def supervisor(self) -> int:
        """PID of the supervisor."""
        return int(self.wait_event("phase", PATIENCE)["pid"])

    def password(self) -> str:
        """The session's password."""
        secret: dict[str, str] = json.loads((self.folder / "credentials.json").read_text())
        return secret["password"]

    def account(self) -> str:
        """The user of the shares."""
        secret: dict[str, str] = json.loads((self.folder / "credentials.json").read_text())
        return secret["share_user"]

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the supervisor alone, as slurmstepd or a shell's job control does."""
        os.kill(self.supervisor(), number)

    def processes(self) -> dict[int, str]:
        """Every process below the supervisor with its command line."""
        return descendants(self.supervisor())

    def pid_of(self, program: str) -> int:
        """PID of the session's first process that runs `program`."""
        self.supervisor()
        return self._poll(lambda line: line.split(" ")[0].endswith(program))

    def pid_by_name(self, words: str) -> int:
        """PID of the first process below us with `words` in its command line, from the first moment on."""
        return self._poll(lambda line: words in line)

    def _poll(self, fits: Callable[[str], bool], seconds: float = PATIENCE) -> int:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = [pid for pid, line in descendants(self.process.pid).items() if fits(line)]
            if found:
                return min(found)
            time.sleep(0.01)
        raise AssertionError(f"no such process:\n{self.story()}")

    def inside(self, *arguments: str, timeout: float = PATIENCE) -> subprocess.CompletedProcess[str]:
        """Run a command of the node in the session's user and network namespace."""
        call = self.within(*arguments)
        return subprocess.run(call, capture_output=True, text=True, errors="replace", timeout=timeout, check=False)

    def within(self, *arguments: str) -> list[str]:
        """The command line for that."""
        return ["nsenter", "-t", str(self.pid_of("dnsmasq")), "-U", "-n", "--preserve-credentials", *arguments]

    def kill(self) -> None:
        """End it whatever its state; for clean-up only."""
        if self.process.poll() is None:
            for pid in descendants(self.process.pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process.kill()
            self.process.wait()


def start(
    *arguments: str,
    base: Path,
    options: Sequence[str] = (),
    env: Mapping[str, str | None] | None = None,
    prefix: Sequence[str] = (),
    umask: int = -1,
    cwd: Path | None = None,
    apart: bool = False,
) -> Session:
    """Start a session; its folder is made below `base`."""
    call = [*prefix, *command("run", "--json", "--session-dir", str(base), *arguments, options=options)]
    process = subprocess.Popen(
        call, env=environment(env), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, umask=umask, cwd=cwd
    )
    return Session(process, base, apart)._begin()


def descendants(pid: int) -> dict[int, str]:
    """Every process below `pid`, itself included, with its command line."""
    parents: dict[int, int] = {}
    lines: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                stat = (entry / "stat").read_text()
                parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
                lines[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    found = {pid}
    while True:
        more = {child for child, parent in parents.items() if parent in found} - found
        if not more:
            return {number: lines[number] for number in found if number in lines}
        found |= more


_PR_SET_CHILD_SUBREAPER = 36
ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def open_up(folder: Path) -> None:
    """Give the right to write back in all of a folder, so that read-only versions of images in it can be changed."""
    for inner, _, _ in os.walk(folder):
        Path(inner).chmod(0o700)


def remove(folder: Path) -> None:
    """A folder with all that is in it, read-only versions of images included."""
    open_up(folder)
    shutil.rmtree(folder, ignore_errors=True)


def my_processes() -> set[int]:
    """PIDs of appliance processes that we have started; an orphaned one comes back to us (prctl(2), subreaper).

    Apptainer's squashfuse is not counted: when Apptainer itself is killed it may stay, which is not in our hands.
    """
    ours = r"apptainer|qemu-system|sbin/smbd|sbin/dnsmasq|swtpm|sevenlbd|/usr/bin/7lbd"
    return {pid for pid, line in descendants(os.getpid()).items() if re.search(ours, line) and "squashfuse" not in line}


def wait_until_gone(pids: Iterable[int], seconds: float = PATIENCE) -> set[int]:
    """Those of `pids` that are still there after so long."""
    deadline = time.monotonic() + seconds
    left = set(pids)
    while (left := {pid for pid in left if _is_running(pid)}) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


class Reachable(Protocol):
    """What a shell in a guest needs to know of its session."""

    @property
    def folder(self) -> Path:
        """The session folder."""

    def password(self) -> str:
        """The session's password."""


def is_private(folder: Path) -> None:
    """Nobody else may anything with the folder, or with what is in it."""
    for path in (folder, *folder.rglob("*")):
        with suppress(FileNotFoundError):  # a session is at work: session.new becomes session.json at any time
            assert path.stat().st_mode & 0o077 == 0, path


def as_root(session: Session, script: str) -> str:
    """Run a shell script as root in the guest of a session with `--acceptance`, and return what it prints."""
    command = {"number": 0, "command": ["/bin/sh", "-es"], "given": base64.b64encode(script.encode()).decode()}
    order = {"order": "guest", "guest": command | {"seconds": 120.0}}
    with socket.socket(socket.AF_UNIX) as wire:
        wire.connect(str(session.folder / "control.sock"))
        wire.sendall(json.dumps(order).encode() + b"\n")
        answer = json.loads(wire.makefile("rb").readline())
    assert answer["ok"], answer
    assert answer["answer"]["code"] == 0, base64.b64decode(answer["answer"]["err"])
    return base64.b64decode(answer["answer"]["out"]).decode()


class Console:
    """A shell in the guest on its serial console, driven by pexpect."""

    PROMPT = "7lbd-test-prompt> "

    def __init__(self, session: Reachable) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(session.folder / "serial.sock"))
        self._shell = pexpect.fdpexpect.fdspawn(
            self._socket, timeout=PATIENCE, encoding="utf-8", codec_errors="replace"
        )
        self._log_in(session.password())

    def _log_in(self, password: str) -> None:
        for _ in range(5):
            self._shell.send("\r")
            found = self._shell.expect(["login: ", r"(?:\$|prompt>) $", "Password: ", pexpect.TIMEOUT], timeout=20)
            if found == 0:
                self._shell.send("user1\r")
                # It may have been the "Last login: " of a shell that was late.
                if self._shell.expect(["Password: ", pexpect.TIMEOUT], timeout=60) != 0:
                    continue
                self._shell.send(password + "\r")
                # On a busy node login gives up waiting, or has not listened yet: then once more.
                if self._shell.expect([r"\$ ", "Login incorrect", pexpect.TIMEOUT], timeout=60) == 0:
                    break
            elif found == 1:
                break
        self._shell.send(
            "unalias -a; export TERM=dumb; stty -echo cols 4000; bind 'set enable-bracketed-paste off'; "
            "PS1='7lbd-test-''prompt> '\r"
        )
        self._shell.expect_exact(self.PROMPT)

    def run(self, line: str, timeout: float = PATIENCE) -> str:
        """Run a shell command in the guest and return what it prints. Raises AssertionError when it fails."""
        output, code = self.attempt(line, timeout)
        assert code == 0, f"`{line}` in the guest gave {code}: {output}"
        return output

    def attempt(self, line: str, timeout: float = PATIENCE) -> tuple[str, int]:
        """The same, with its exit code."""
        self._shell.send(f'{line}; echo "<code=$?>"\r')
        self._shell.expect(r"<code=(\d+)>", timeout=timeout)
        found = self._shell.match
        assert isinstance(found, re.Match)
        output, code = str(self._shell.before), int(found.group(1))
        self._shell.expect_exact(self.PROMPT)
        return output.replace("\r", "").strip("\n"), code

    def hang_up(self) -> None:
        """Leave the line as it is: whoever comes next finds this shell."""
        self._socket.close()

    def close(self) -> None:
        """Log out."""
        with suppress(OSError):
            self._shell.send("exit\r")
        self._socket.close()
