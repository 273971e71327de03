"""A session's state: its phases, the one place that changes them, and `session.json`.

Both sides know the words; only the supervisor writes the file.
"""

from __future__ import annotations

import json
import math
import os
import time
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

from ..base import atomic, foreign_files
from ..base.errors import visible

# A hundred warnings of four kilobytes, each character escaped, are the most that a session says.
_MAX_FILE = 4 << 20


class Phase(StrEnum):
    """The life of a session, in order."""

    PREPARING = "preparing"
    BOOTING = "booting"
    GUEST_UP = "guest-up"
    READY = "ready"
    SUSPENDING = "suspending"
    SUSPENDED = "suspended"
    STOPPING = "stopping"
    ENDED = "ended"
    FAILED = "failed"


_NEXT = {
    Phase.PREPARING: {Phase.BOOTING, Phase.STOPPING, Phase.FAILED},
    Phase.BOOTING: {Phase.GUEST_UP, Phase.STOPPING, Phase.FAILED},
    Phase.GUEST_UP: {Phase.READY, Phase.STOPPING, Phase.FAILED},
    Phase.READY: {Phase.SUSPENDING, Phase.STOPPING, Phase.FAILED},
    Phase.SUSPENDING: {Phase.READY, Phase.SUSPENDED, Phase.STOPPING, Phase.FAILED},
    Phase.SUSPENDED: set(),
    Phase.STOPPING: {Phase.ENDED, Phase.FAILED},
    Phase.ENDED: set(),
    Phase.FAILED: set(),
}

FINAL = {Phase.ENDED, Phase.FAILED, Phase.SUSPENDED}


class StateError(Exception):
    """A change of phase that the life of a session does not have."""


@dataclass
class SessionState:
    """What `session.json` holds. `phases` maps each phase to seconds since the session's start."""

    id: str
    user: str
    host: str
    image: str
    accel: str
    network: str
    pid: int
    folder: str
    started: float = field(default_factory=time.time)
    phase: Phase = Phase.PREPARING
    phases: dict[str, float] = field(default_factory=dict)
    milestones: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What the user may like to know of how it was started, and need not mend."""
    ways_out: list[str] = field(default_factory=list)
    """What is wrong with the guest's ways out now: servers that are down, and since when."""
    project: str = ""
    """The project's private network that the guest joins; empty when none."""
    project_address: str = ""
    """The session's address there; empty while it is down."""
    project_since: float = 0.0
    """Since when it is up, or down, in seconds since the epoch; 0 before it was up first."""
    project_trouble: str = ""
    """Why it is down."""
    worker: str = ""
    """What a guest that joins a pool says of itself: a WorkerPhase; empty before it has, and of all others."""
    worker_why: str = ""
    """What it adds to that."""
    joins: str = ""
    """What the guest is called in the pool that it joins; empty when it joins none."""
    paused: str = ""
    reason: str = ""
    hint: str = ""
    end: str = ""
    """How the machine itself ended, whatever the reason: for instance "the guest shut down"."""
    ends_at: float = 0.0
    """When its time is up, in seconds since the epoch; 0 when nobody knows of a limit."""
    suspend_seconds: float = 0.0
    """How long it is reckoned to take to suspend it at its end, which is that much earlier; 0 when it is shut down."""
    url: str = ""
    """Where the page is, without the key to it."""
    certificate: str = ""
    """SHA-256 of the guest's RDP certificate, `AA:BB:...`, as soon as the guest has shown it."""
    web_certificate: str = ""
    """SHA-256 of the page's certificate, when the session made its own."""
    native_port: int = 0
    """Where RDP over mutual TLS listens; 0 when it does not."""
    title: str = ""
    """What people call the image: its description's title, or empty."""
    job: str = ""
    """The scheduler's id of the job that it runs in; empty outside of any."""
    scheduler: str = ""
    """Whose job that is: slurm, condor ...; empty where an older version wrote this, which knew of Slurm alone."""
    unique_job: str = ""
    """What no other job is called, of another queue or another year (HTCondor); empty where `job` itself is that."""
    array: str = ""
    """What people call the job when it is a task of an array, `25_3`; empty when it is none."""
    step: str = ""
    """The job step (Slurm), or empty for the batch script itself or a shell of salloc's."""
    leads_job: bool = False
    """Whether what the scheduler signals to the job's batch shell comes to the session itself."""
    restarts: int = 0
    """How often the scheduler has started this job anew."""
    console: bool = False
    """Whether the machine's own screen is offered."""
    background: str = ""
    """How it gives way to others on its node; empty when it does not."""
    account: str = ""
    """Who logs in to the desktop."""
    saved: str = ""
    """The file that it was suspended into last."""
    runs: str = ""
    """The system for which it runs commands, `windows` or `linux`; empty for a desktop."""
    desktop: bool = False
    """Whether a command can have the account's visible desktop."""
    works_in: str = ""
    """The node's folder in which the commands work; empty where that is one of the session's own."""

    @property
    def called(self) -> str:
        """What people are told that it is a desktop of."""
        return self.title or self.image

    def elapsed(self) -> float:
        """Seconds since the session began."""
        return time.time() - self.started

    def advance(self, phase: Phase) -> None:
        """Move to `phase` now. Raises StateError when the life of a session has no such step."""
        if phase not in _NEXT[self.phase]:
            raise StateError(f"a session cannot go from {self.phase} to {phase}")
        self.phase = phase
        if phase is not Phase.READY or phase not in self.phases:  # one that was saved and runs on is no readier
            self.phases[phase] = self.elapsed()

    def write(self, path: Path) -> None:
        """Replace `path` atomically, mode 0600; on a full disk write over it in place. Raises OSError."""
        text = json.dumps(asdict(self), indent=1).encode()
        try:
            atomic.replace(path, text)
        except OSError:
            _write_over(path, text)


def _write_over(path: Path, text: bytes) -> None:
    """Into the blocks that the file has already: how `status` learns that there are no others."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "wb") as file:
        file.write(text)
        file.truncate()


def read(path: Path) -> SessionState:
    """The state in `path`. Raises OSError or ValueError when it is not there or not whole.

    What another version of us says beside that is passed over: on other nodes there may be an older or newer SIF.
    """
    try:
        return from_words(json.loads(foreign_files.read(path.parent, path.name, _MAX_FILE)))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not a session's state: {error}") from error


def from_words(said: dict[str, Any]) -> SessionState:
    """A state as its JSON says it, whatever else stands there. Raises ValueError when it is none."""
    try:
        known = {field.name: field.type for field in fields(SessionState)}
        values = {name: _plain(value, str(known[name])) for name, value in said.items() if name in known}
        return SessionState(**values | {"phase": Phase(said["phase"])})
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(str(error)) from error


def _plain(value: Any, kind: str) -> Any:
    """A value as its field has it. The register may be written by others than ourselves: by the guest, in a home share.

    Texts are on one line. Raises TypeError for another kind.
    """
    if kind in ("str", "Phase") and isinstance(value, str):
        return visible(value)
    if kind == "bool" and isinstance(value, bool):
        return value
    if kind in ("int", "float") and type(value) in (int, float) and math.isfinite(value):
        return value
    if kind == "list[str]" and isinstance(value, list):
        return [_plain(one, "str") for one in value]
    if kind == "dict[str, float]" and isinstance(value, dict):
        return {_plain(name, "str"): _plain(one, "float") for name, one in value.items()}
    raise TypeError(f"{value!r:.80} is no {kind}")
