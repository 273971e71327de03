"""One session of an acceptance: started by the program itself, as anybody's is, in a folder of its own."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from ...base import process
from ...wire import shared_files, state
from ...wire.keeper import GuestAnswer
from ...wire.state import FINAL, Phase, SessionState
from ..access import credentials
from ..console import printed_events
from ..folders import session_folders
from ..session import control
from . import guest_scripts
from .criteria.evidence import GuestFacts

_SCRIPT_SECONDS = 300.0  # PowerShell alone takes half a minute to load where everything is emulated
_POLL = 0.05  # seconds; a figure of the report is the time until something is seen
_MAX_LOG = 256 * 1024  # bytes that are looked at of QEMU's log
_LAST_WORDS = 20  # lines that a refused session has printed


@dataclass
class ExaminedSession:
    """A running `7lbd run --json --acceptance`."""

    folder: Path
    shared: Path
    """What it has as the user's home: an empty folder, and never the home of who examines it."""
    windows: bool
    quick: bool
    running: process.Piped
    _last: SessionState | None = None
    _words: list[str] = field(default_factory=list)

    def follow(self) -> threading.Thread:
        """Begin to read what it prints."""
        reader = threading.Thread(target=self._read, daemon=True)
        reader.start()
        return reader

    def _read(self) -> None:
        assert self.running.stdout
        for said in printed_events.read(self.running.stdout):
            if isinstance(said, str):
                self._words.append(said)
            elif said.get("event") == "refused":
                self._words.append(str(said.get("what")))
            elif said.get("event") == "finished":
                with suppress(ValueError):
                    self._last = state.from_words(said)
            del self._words[:-_LAST_WORDS]

    @property
    def state(self) -> SessionState | None:
        """As it is now; as it ended when it has."""
        if self._last is None:
            with suppress(OSError, ValueError):
                return state.read(self.folder / session_folders.STATE)
        return self._last

    def wait_ready(self, seconds: float) -> str:
        """Wait for the desktop. Returns why there is none, or nothing."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            now = self.state
            if now and now.phase is Phase.READY:
                return ""
            if (now and now.phase in FINAL) or self.running.poll() is not None:
                return (now.reason if now else "") or (self._words[-1] if self._words else "it ended")
            time.sleep(_POLL)
        return f"it was not ready within {seconds:.0f} s"

    def run(self, command: Sequence[str], given: bytes = b"", seconds: float = _SCRIPT_SECONDS) -> GuestAnswer:
        """Run a program in the guest; one that cannot be run is an answer, too."""
        try:
            return control.send_guest_command(self.folder, command, given, seconds)
        except (OSError, ValueError) as error:
            return GuestAnswer(0, failure=f"the session does not answer: {error}")

    def ask(self, script: str, *, seconds: float = _SCRIPT_SECONDS, **values: str) -> GuestFacts:
        """What one of our scripts finds out in the guest."""
        if not guest_scripts.exists(script, windows=self.windows):
            return GuestFacts(failure="there is no way to ask this system")
        given = guest_scripts.script(script, values, windows=self.windows)
        return guest_scripts.facts(self.run(guest_scripts.command(windows=self.windows), given, seconds))

    def shut_down(self, by: str, seconds: float) -> float | None:
        """Have the guest asked in one way alone. Returns after how many seconds it was off.

        None when it goes on, and when the session has broken meanwhile: that is no shut-down.
        """
        began = time.monotonic()
        with suppress(OSError, ValueError):
            control.send_shut_down(self.folder, by)
        while time.monotonic() - began < seconds:
            now = self.state
            if now and now.phase in FINAL:
                return time.monotonic() - began if now.phase is Phase.ENDED else None
            if (code := self.running.poll()) is not None:
                return None if code else time.monotonic() - began
            time.sleep(_POLL)
        return None

    def cpu_share(self, seconds: float) -> float | None:
        """Which share of one CPU the machine uses in the time that comes; None when it cannot be seen."""
        machine = self.helper("qemu-system")
        before = _cpu_seconds(machine)
        time.sleep(seconds)
        after = _cpu_seconds(machine)
        return None if before is None or after is None else (after - before) / seconds

    def helper(self, name: str) -> int | None:
        """The process of the session whose program's name begins like this, as it is seen from here."""
        return next((pid for pid in _below(self.running.pid) if _name(pid).startswith(name)), None)

    def secrets(self) -> tuple[str, ...]:
        """What opens it."""
        with suppress(OSError, ValueError):
            read = credentials.read(self.folder)
            return (read.password, *read.tokens.values())
        return ()

    def qemu_log(self) -> str:
        """What QEMU has printed."""
        with suppress(OSError):
            return (self.folder / shared_files.QEMU_LOG).read_bytes()[:_MAX_LOG].decode(errors="replace")
        return ""

    def end(self) -> None:
        """At once, if it has not ended."""
        with suppress(OSError, ValueError):
            control.send_stop(self.folder, now=True)


@contextmanager
def started(base: Path, name: str, *, windows: bool, quick: bool, options: Sequence[str]) -> Iterator[ExaminedSession]:
    """A session in a folder of `base`; it is over when this ends."""
    shared = base / f"{name}-home"
    shared.mkdir(mode=0o700)
    words = ["--json", "--acceptance", "--session-dir", str(base), "--name", name, *options]
    words += ["--no-home-share", "--share", f"home={shared}"]
    command = [*process.python("sevenlbd"), "run", *words]
    with process.piped(command, environment=os.environ) as running:
        session = ExaminedSession(base / name, shared, windows, quick, running)
        reader = session.follow()
        try:
            yield session
        finally:
            session.end()
            with suppress(TimeoutError):
                reader.join(_SCRIPT_SECONDS)


def _below(root: int) -> Iterator[int]:
    """Every process that stands below another (proc(5)); those of a session are seen from outside its namespaces."""
    above = {pid: parent for pid in _pids() if (parent := _parent(pid)) is not None}
    for pid in above:
        one: int | None = pid
        while one and one != root:
            one = above.get(one)
        if one == root:
            yield pid


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat behind the name, which may hold anything: the state is the first."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    return []


def _parent(pid: int) -> int | None:
    fields = _stat(pid)
    return int(fields[1]) if fields else None


def _name(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    return ""


def _cpu_seconds(pid: int | None) -> float | None:
    fields = _stat(pid) if pid is not None else []
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if fields else None
