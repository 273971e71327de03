"""What a guest that joins a pool says of itself, in the session's state. It is the guest's word, and only passed on."""

from __future__ import annotations

from ...base.errors import visible
from ...wire.state import SessionState
from ...wire.worker_words import Join, WorkerPhase

_MOST = 300  # characters of a reason; a guess: a line of a terminal or two
_IN = (WorkerPhase.IDLE, WorkerPhase.BUSY, WorkerPhase.LEFT)
JOINED = "joined"  # a milestone of ours: the keeper only passes on what the guest says


def joined_as(join: Join | None) -> str:
    """What the guest is called in its pool; empty when it joins none."""
    lines = (line.partition("=") for line in join.record.splitlines()) if join else ()
    said = {name: value for name, _, value in lines if name in ("machine", "slot")}
    return f"{said['machine']}/{said['slot']}" if said else ""


def hear(state: SessionState, text: str) -> bool:
    """Take the guest's word: a WorkerPhase, and why. Whether it says anything new; what is no such word does not."""
    word, _, rest = text.partition(" ")
    try:
        phase, why = WorkerPhase(word.removesuffix(":")), visible(rest.strip(), _MOST)
    except ValueError:
        return False
    if not state.joins or (state.worker, state.worker_why) == (phase, why):
        return False
    state.worker, state.worker_why = phase, why
    if phase in _IN:
        state.milestones.setdefault(JOINED, state.elapsed())
    return True


def has_joined(state: SessionState) -> bool:
    """Whether it was in the pool at any time."""
    return JOINED in state.milestones


def spelled(state: SessionState) -> str:
    """For people."""
    who = f"worker {state.joins}"
    if state.worker == WorkerPhase.REFUSED:
        return f"the pool has not let {who} in: {state.worker_why or 'it does not say why'}"
    return f"{who}: {state.worker}"


def parting(state: SessionState) -> str:
    """Why its machine has ended, where it has left by itself; empty where it has not."""
    if state.worker != WorkerPhase.LEFT:
        return ""
    return f"worker {state.joins} has left its pool" + (f": {state.worker_why}" if state.worker_why else "")
