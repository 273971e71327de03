"""A machine that somebody lends: its owner's file and log-ins, its coordinator as an ordinary user's service."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import harness
from other_account import OtherAccount

_WITHIN = 300.0  # seconds until something is so, on a machine where others work, too
_HEARD = Path(f"/tmp/7lbd-grid-{os.getuid()}")  # where a user's coordinators hear the owner of their machine


@dataclass(frozen=True)
class LentVm:
    """What a shell in a VM needs to know of it (harness.Reachable)."""

    folder: Path

    def password(self) -> str:
        """The session's password."""
        said: dict[str, str] = json.loads((self.folder / "credentials.json").read_text())
        return said["password"]


class LentMachine:
    """One, in a folder of its own. `node` is what its coordinator takes for the node's file tree.

    `prefix` is a command that brings it to another namespace; `apart` says that its files are in one, too. Its owner is
    heard here and by no coordinator of another test, or else as the node in that namespace has it (sitenet.py). With
    `account`, that is whose coordinator it is, with all its files.
    """

    def __init__(
        self,
        folder: Path,
        sif: Path,
        prefix: Sequence[str] = (),
        *,
        apart: bool = True,
        account: OtherAccount | None = None,
    ) -> None:
        self.folder, self.sif = folder, sif
        self._account = account
        self._prefix = account.prefix if account else prefix
        self._apart = apart and bool(prefix)
        self.node, self.state = folder / "node", (account.home if account else folder) / "st"
        self.coordinator = self.state / "grid" / "coordinator"
        for path in ("usr", "run/systemd/sessions", "etc"):
            (self.node / path).mkdir(parents=True)
        (self.node / "etc/localtime").symlink_to("/usr/share/zoneinfo/Etc/UTC")
        self._heard = [f"{self._own_ear()}:{_HEARD}"] if apart else []
        self._ahead = 0  # seconds
        self.toml = folder / "7lbd.toml"
        self.said: list[str] = []
        self._process: subprocess.Popen[str] | None = None

    def _own_ear(self) -> Path:
        own = self.folder / "heard"
        own.mkdir()
        _HEARD.mkdir(mode=0o711, exist_ok=True)
        (_HEARD / "tests").touch()  # so that nobody removes it: that would be no place for a mount any more
        return own

    def grants(self, text: str) -> None:
        """What the owner and the site say, from now on: in one step."""
        new = self.toml.with_suffix(".new")
        new.write_text(text)
        new.replace(self.toml)

    def log_in(self, user: str = "ada") -> None:
        """By ssh, as logind writes it down."""
        session = f"UID=1000\nUSER={user}\nSTATE=active\nREMOTE=1\nTYPE=tty\nCLASS=user\nSERVICE=sshd\nTTY=pts/3\n"
        (self.node / "run/systemd/sessions/7").write_text(session)

    def log_out(self) -> None:
        (self.node / "run/systemd/sessions/7").unlink(missing_ok=True)

    def set_clock(self, hour: str) -> None:
        """Have it be so late on this machine: nobody can move the clock, but a time zone is a file (RFC 9636)."""
        hours, minutes, seconds = map(int, hour.split(":"))
        now = time.gmtime()
        self._ahead = 3600 * (hours - now.tm_hour) + 60 * (minutes - now.tm_min) + seconds - now.tm_sec
        head = b"TZif2" + bytes(15) + struct.pack(">6l", 0, 0, 0, 0, 1, 4)
        body = struct.pack(">lBB", self._ahead, 0, 0) + b"LMT\0"
        new = self.node / "etc/localtime.new"
        new.write_bytes(2 * (head + body) + b"\n\n")
        new.replace(self.node / "etc/localtime")

    def local(self, at: float) -> str:
        """What its clock showed then."""
        return time.strftime("%H:%M:%S", time.gmtime(at + self._ahead))

    def command(self, *words: str) -> list[str]:
        """The appliance on this machine."""
        shown = (f"{self.node}:/node", self.folder, f"{self.toml.parent}:/etc/7lbd", self.sif.parent, *self._heard)
        binds = [f"--bind={path}" for path in shown]
        return ["apptainer", "run", *binds, str(self.sif), *words]

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        """One verb to its end."""
        prefix = () if self._apart else self._prefix
        return subprocess.run(
            [*prefix, *self.command(*words)],
            capture_output=True,
            text=True,
            timeout=harness.PATIENCE,
            check=False,
            env=self._env,
        )

    @property
    def _env(self) -> Mapping[str, str]:
        return self._account.env if self._account else os.environ

    def begin(self) -> None:
        """The coordinator."""
        words = self.command("grid", "coordinator", "--state-dir", str(self.state))
        self._process = subprocess.Popen(
            [*self._prefix, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={name: value for name, value in self._env.items() if name != "SEVENLBD_STATE_DIR"},
        )
        threading.Thread(target=self._read, args=(self._process,), daemon=True).start()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout
        self.said += (line.rstrip("\n") for line in iter(process.stdout.readline, ""))

    @property
    def pid(self) -> int:
        """That of the coordinator itself, by its own word."""
        (said,) = self._texts(self.coordinator, "lock").values()
        return int(said.split()[1])

    def _texts(self, folder: Path, pattern: str) -> dict[Path, str]:
        """Its files of such names, and what is in them."""
        if self._account:
            return self._account.texts(f"{folder}/{pattern}")
        found = {}
        for path in folder.glob(pattern):
            with suppress(OSError):
                found[path] = path.read_text()
        return found

    def sessions(self) -> dict[str, int]:
        """Each session's supervisor."""
        found = {}
        for path, said in self._texts(self.inside(self.coordinator / "s"), "g*/session.json").items():
            with suppress(ValueError):
                found[path.parent.name] = int(json.loads(said)["pid"])
        return found

    def vm(self, name: str) -> LentVm:
        """For a shell in it."""
        return LentVm(self.inside(self.coordinator / "s") / name)

    def holds(self, place: Path, digest: str) -> None:
        """Have this image's one version in its store already, as if it had been fetched: it is moved there."""
        store = self.coordinator / "images" / digest
        store.mkdir(parents=True, mode=0o700)
        for part in (self.state, self.state / "grid", self.coordinator, self.coordinator / "images"):
            part.chmod(0o700)
        place.parent.rename(store / place.parent.name)  # the version itself is sealed
        place.parent.symlink_to(store / place.parent.name)

    def inside(self, path: Path) -> Path:
        """A path as the coordinator's mount namespace has it."""
        assert self._process
        return Path(f"/proc/{self._process.pid}/root{path}") if self._apart else path

    def changes(self, subject: str = "", what: str = "") -> list[dict[str, Any]]:
        """What has changed, as its log tells."""
        lines = "".join(self._texts(self.coordinator, "changes.log").values()).splitlines()
        found = [json.loads(line) for line in lines]
        return [one for one in found if subject in one["subject"] and what in one["what"]]

    def wait(self, why: str, is_so: Callable[[], Any], seconds: float = _WITHIN, pause: float = 0.2) -> Any:
        """Wait until it is so; look every `pause` seconds."""
        deadline = time.monotonic() + seconds
        while not (found := is_so()):
            assert time.monotonic() < deadline, f"{why}: not within {seconds:.0f} s\n{self.story()}"
            time.sleep(pause)
        return found

    def wait_change(self, subject: str, what: str, times: int = 1, seconds: float = _WITHIN) -> dict[str, Any]:
        """Wait until something has come to this so often; returns the last of these."""
        wanted = f"{subject} {what} {times} times"
        found = self.wait(wanted, lambda: self.changes(subject, what)[times - 1 : times], seconds)
        last: dict[str, Any] = found[0]
        return last

    def story(self) -> str:
        """All that it has said."""
        return "\n".join(self.said[-60:])

    def kill(self) -> None:
        """By SIGKILL; its VMs die with it."""
        os.kill(self.pid, signal.SIGKILL)
        assert self._process
        self._process.wait(harness.PATIENCE)

    def end(self, seconds: float = _WITHIN) -> int:
        """In order. Returns its exit code."""
        assert self._process
        with suppress(ProcessLookupError, ValueError):
            os.kill(self.pid, signal.SIGTERM)
        return self._process.wait(seconds)

    @contextmanager
    def lent(self) -> Iterator[LentMachine]:
        """Until the block is left; then none of its processes may be."""
        before = harness.my_processes()
        try:
            yield self
        finally:
            self.clean_up()
        assert not harness.wait_until_gone(harness.my_processes() - before), "a coordinator leaves no process"

    def clean_up(self) -> None:
        """Whatever its state."""
        if self._process and self._process.poll() is None:
            with suppress(OSError, ValueError, IndexError):
                os.kill(self.pid, signal.SIGKILL)  # its VMs die with it
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(harness.PATIENCE)
            self._process.kill()
            self._process.wait(harness.PATIENCE)
