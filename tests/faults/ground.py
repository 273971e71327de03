"""Where a session of a round lives: a plain folder, or a small disk of its own that is kept until it was looked at."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import harness
from strange import node

_DISK = "200M"
_JUST_BOOTED = 5  # seconds: the kernel refuses a time before the boot (time_namespaces(7))
_HOLD_SECONDS = 600  # longer than a round; nobody is left for ever when we are killed


class Ground:
    """A base folder; with `small` on a tmpfs in a mount namespace of its own, which a sleeping process holds."""

    def __init__(self, place: Path, number: int, *, small: bool) -> None:
        self.small = small
        self.base = place / (f"small-{number}" if small else "b")
        self.base.mkdir(mode=0o700, exist_ok=True)
        self._holder_file = place / f"holder-{number}"

    def prefix(self, uptime: int) -> list[str]:
        """Before the session's command. The mount namespace comes first, so that what we start is in it."""
        hold = f"sleep {_HOLD_SECONDS} </dev/null >/dev/null 2>&1 &\necho $! >{self._holder_file}"
        disk = node(f"mount -t tmpfs -o size={_DISK},mode=0700 none {self.base}\n{hold}") if self.small else []
        if not uptime:
            return disk
        ahead = str(max(uptime, _JUST_BOOTED - int(time.monotonic())))
        clocks = ["--boottime", ahead, "--monotonic", ahead]
        new = ["unshare", "--map-current-user", "--keep-caps", "--time", "--fork", "--kill-child=SIGTERM"]
        return [*disk, *new, *clocks]

    @property
    def seen(self) -> Path:
        """The base folder as seen from here."""
        holder = self._holder()
        return Path(f"/proc/{holder}/root{self.base}") if holder else self.base

    @property
    def disk(self) -> Path | None:
        """The small disk, while it is one: nobody else's is to be filled."""
        with suppress(OSError):
            seen = self.seen
            if self._holder() and seen.stat().st_dev != self.base.stat().st_dev:
                return seen
        return None

    def run(self, *arguments: str, env: Mapping[str, str | None]) -> subprocess.CompletedProcess[str]:
        """A verb of the appliance, where the session's folder is seen."""
        holder = self._holder()
        enter: Sequence[str] = ("nsenter", "-t", str(holder), "-U", "-m", "--preserve-credentials") if holder else ()
        return harness.run(*arguments, "--session-dir", str(self.base), env=env, prefix=enter)

    def collect(self, env: Mapping[str, str | None]) -> None:
        """`7lbd gc`, which must do its work. Raises AssertionError."""
        if self.small:
            assert self._holder(), "the small disk is gone, and cannot be looked at"
        done = self.run("gc", env=env)
        assert done.returncode == 0, f"gc gave {done.returncode}: {done.stdout}{done.stderr}"

    def left(self) -> list[str]:
        """Folders that nobody wants to keep."""
        names = [one.name for one in self.seen.glob("*")]
        return [name for name in names if not name.startswith("failed-") and name != "filler"]

    def is_held_by(self, pid: int) -> bool:
        """Whether this is the process that keeps the disk."""
        return pid == self._holder()

    def close(self) -> None:
        """Let go of the disk."""
        if holder := self._holder():
            with suppress(ProcessLookupError):
                os.kill(holder, signal.SIGKILL)

    def _holder(self) -> int:
        """0 when there is none. Its number is only believed while it is still what we started."""
        with suppress(OSError, ValueError):
            pid = int(self._holder_file.read_text())
            if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"sleep\0"):
                return pid
        return 0
