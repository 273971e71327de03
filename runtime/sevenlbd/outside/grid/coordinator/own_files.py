"""Where a coordinator's files are, and that there is one coordinator only.

grid/                   the machine's place in the pool (`membership`)
grid/coordinator/lock   held for as long as the coordinator lives; says who it is
grid/coordinator/state.json, changes.log, changes.log.1
grid/coordinator/images/    its repository (`image_store`)
grid/coordinator/vms/       its sessions' register and saved desktops, apart from those of its user
grid/coordinator/s/         its sessions' folders: a short name, because sockets lie there
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from ....base import atomic, foreign_files
from ....base.errors import ExitCode, Refusal
from ....wire.codec import Codec, Malformed, Printable
from ..membership import make
from .change_log import Change

_MOST_STATE = 1 << 20  # bytes; a guess: some hundred for each VM
_MOST_LOG = 4 << 20  # bytes; a guess: months of changes
_LAST = 20  # changes that the owner is shown


@dataclass(frozen=True)
class KnownVm:
    """A VM, as the state's file has it. `saved_at` in seconds since the epoch; 0 of one that runs."""

    id: Printable
    slot: int
    name: Printable
    version: Printable
    digest: Printable
    saved_at: float = 0.0


@dataclass(frozen=True)
class KnownState:
    """What the next life has to know."""

    vms: tuple[KnownVm, ...] = ()
    paused: bool = False
    paused_by: Printable = ""
    paused_until: float = 0.0
    """Seconds since the epoch; 0: until somebody says otherwise."""
    paused_own: bool = False
    """Whether the coordinator's own user has said so."""


_STATES: Codec[KnownState] = Codec(KnownState)


class OwnFiles:
    """The files of one coordinator, in the grid's folder of its user."""

    def __init__(self, grid: Path) -> None:
        self.place = grid / "coordinator"
        self.images = self.place / "images"
        self.state_dir = self.place / "vms"
        self.sessions = self.place / "s"
        self._state = self.place / "state.json"
        self._log = self.place / "changes.log"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Be the one coordinator of this user. Raises Refusal when there is one."""
        try:
            make(self.place)
            descriptor = os.open(self.place / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            what = f"{self.place}: cannot be used: {error.strerror}"
            raise Refusal(ExitCode.RESOURCES, what, hint="--state-dir DIR, on a disk of this machine") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            who = os.pread(descriptor, 200, 0).decode(errors="replace").strip()  # a name and a number
            os.close(descriptor)
            what = f"a coordinator of yours runs already: {who or 'who does not say where'}"
            hint = "7lbd grid show; where machines share a home, each needs a --state-dir of its own"
            raise Refusal(ExitCode.USAGE, what, hint=hint) from None
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()} on {os.uname().nodename}\n".encode(), 0)
            yield
        finally:
            os.close(descriptor)

    @property
    def known(self) -> KnownState:
        """What was written last; nothing when there is nothing that makes sense."""
        with suppress(OSError, Malformed):
            return _STATES.unpack(foreign_files.read(self.place, self._state.name, _MOST_STATE))
        return KnownState()

    def keep(self, state: KnownState) -> None:
        """Let it outlive us, and a power cut. Raises OSError."""
        atomic.replace(self._state, _STATES.pack(state), lasting=True)

    def log(self, changes: Sequence[Change], at: float) -> None:
        """Add lines. A full disk must not end a coordinator."""
        with suppress(OSError):
            with suppress(FileNotFoundError):
                if self._log.stat().st_size > _MOST_LOG:
                    self._log.replace(self._log.with_suffix(".log.1"))
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
            with os.fdopen(os.open(self._log, flags, 0o600), "w") as file:
                file.write("".join(f"{change.line(at)}\n" for change in changes))

    def last_changes(self) -> list[dict[str, object]]:
        """The newest, oldest first."""
        with suppress(OSError):
            lines = foreign_files.tail(self.place, self._log.name, 64 << 10).splitlines()  # more than so many lines
            return [said for line in lines[-_LAST:] if (said := _parsed(line))]
        return []


def _parsed(line: bytes) -> dict[str, object] | None:
    with suppress(ValueError, RecursionError):
        said = json.loads(line)
        return said if isinstance(said, dict) else None
    return None


def change_of(said: dict[str, object]) -> Change:
    """One that was logged, for people."""
    names = asdict(Change("", ""))
    return Change(**{name: str(said.get(name, "")) for name in names})
