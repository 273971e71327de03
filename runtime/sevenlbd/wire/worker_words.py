"""A worker: a guest that joins a pool, with the record that the keeper hands to it, and what it says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class WorkerPhase(StrEnum):
    """What a worker says of itself: the first word of its status, to which it may add why."""

    JOINING = "joining"
    """The pool does not know it yet, or does not answer."""
    IDLE = "idle"
    BUSY = "busy"
    """Jobs run in it."""
    REFUSED = "refused"
    """The pool does not let it in."""
    LEFT = "left"
    """It has left the pool by itself, and shuts down."""


@dataclass(frozen=True)
class Join:
    """The pool that the guest joins. Holds its token."""

    hook: tuple[str, ...]
    """What the agent runs in the guest with `record` on its standard input: the image's `join_hook`."""
    record: str
    """Lines NAME=VALUE."""
    status: str = ""
    """The file in the guest that says what the worker does; empty when the image has none."""
