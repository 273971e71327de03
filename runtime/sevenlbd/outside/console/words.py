"""What a session's steps are called in front of people."""

from __future__ import annotations

import time

from ...base import units
from ...wire.state import SessionState

MILESTONES = {
    "thawed": "the frozen machine runs again",
    "clock": "the guest's clock is right",
    "session": "the guest knows whose session it is",
    "logon": "the account has logged on once",
    "flushed": "the guest has written what it held",
    "frozen": "the machine is frozen",
    "dhcp": "the guest has its network address",
    "ready-line": "the guest says that it is ready",
    "agent": "the guest's agent answers",
    "password": "the password is set",
    "rdp": "the remote desktop answers",
    "told-pool": "the guest knows the pool that it joins",
    "joined": "the pool knows the guest",
    "notice": "the desktop's user was told of the end",
}
"""By the words of the wire (wire/keeper.py)."""


def step(name: str) -> str:
    """A milestone's or a phase's name, and what it means."""
    return f"{name}: {MILESTONES[name]}" if name in MILESTONES else name


def worker(state: SessionState) -> str:
    """What a guest that joins a pool says of itself."""
    return f"worker {state.joins}: {state.worker}" + (f": {state.worker_why}" if state.worker_why else "")


def latest(state: SessionState) -> str:
    """What the guest has come to, in a few words."""
    name = max(state.milestones, key=lambda one: state.milestones[one], default="")
    return MILESTONES.get(name, name)


def ends(state: SessionState) -> str:
    """When it is shut down or suspended, and how long that is from now."""
    left = state.ends_at - time.time()
    clock = time.strftime("%Y-%m-%d %H:%M", time.localtime(state.ends_at))
    if left <= 0:
        return f"ends now; its time was up at {clock}"
    how = f", and is suspended, for which {units.duration(state.suspend_seconds)} are reckoned"
    return f"ends at {clock}, in {units.duration(left)}{how if state.suspend_seconds else ''}"
