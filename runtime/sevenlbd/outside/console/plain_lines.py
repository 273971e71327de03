"""A session's progress as plain lines, for a job's log."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from ...base.errors import Refusal
from ...wire.state import Phase, SessionState
from . import output, words
from .instructions import ready_block
from .output import Output

MEANING = {
    Phase.PREPARING: "namespace, network, overlay",
    Phase.BOOTING: "the machine runs its firmware and system",
    Phase.GUEST_UP: "the guest answers; its desktop starts",
    Phase.READY: "you can log in",
    Phase.SUSPENDING: "the desktop is written to a file",
    Phase.SUSPENDED: "it goes on from its file whenever you want",
    Phase.STOPPING: "the guest is shut down",
    Phase.ENDED: "nothing is left behind",
    Phase.FAILED: "the reason follows",
}


class Lines(Output):
    """Plain lines, for a job's log."""

    def __init__(self, sif: str) -> None:
        self._sif = sif
        self._last: Phase | None = None
        self._milestones: set[str] = set()
        self._link = ""

    def update(self, state: SessionState) -> None:
        if self._last is None:
            for text in _heading(state):
                output.say(f"7lbd: {text}")
            for text in state.warnings:
                self.warn(text)
        self._show_link(state)
        for name, at in state.milestones.items():
            if name not in self._milestones:
                self._milestones.add(name)
                output.say(f"7lbd: {at:7.1f} s    {words.step(name)}")
        if state.phase is not self._last:
            self._last = state.phase
            why = f" ({state.reason})" if state.phase is Phase.STOPPING and state.reason else ""
            at = state.phases.get(state.phase, 0.0)
            output.say(f"7lbd: {at:7.1f} s  {state.phase}: {MEANING[state.phase]}{why}")

    def warn(self, text: str) -> None:
        output.say(f"7lbd: WARNING: {text}")

    def note(self, text: str) -> None:
        output.say(f"7lbd: {_clock()}: {text}")

    def worker(self, state: SessionState) -> None:
        self.note(words.worker(state))

    def ready(self, state: SessionState) -> None:
        output.say("", *ready_block(state, self._sif, self._link).split("\n"), "")

    def kept(self, folder: Path) -> None:
        output.say(f"7lbd: logs and last screen are kept in {folder}")

    def finished(self, state: SessionState) -> None:
        if state.phase is Phase.FAILED:
            output.say(f"7lbd: FAILED: {state.reason}", *([f"  {state.hint}"] if state.hint else []), error=True)
        elif state.phase is Phase.SUSPENDED:
            output.say(f"7lbd: {_clock()}: session {state.id} is {state.reason}")
        else:
            machine = f"; {state.end}" if state.end and state.end != state.reason else ""
            output.say(f"7lbd: {_clock()}: session {state.id} has ended: {state.reason}{machine}")

    def refused(self, refusal: Refusal) -> None:
        pass

    def begin_anew(self) -> None:
        """What comes next is another session."""
        self._last = None
        self._milestones = set()
        self._link = ""

    def _show_link(self, state: SessionState) -> None:
        """The page works long before the desktop does: tell it as soon as there is one."""
        if not self._link and (link := self._find_link(state)):
            self._link = link
            self._say_link(f"7lbd: watch it start, and use it, in the browser: {link}")

    def _find_link(self, state: SessionState) -> str:
        return state.url

    def _say_link(self, text: str) -> None:
        output.say(text)


def _heading(state: SessionState) -> Iterator[str]:
    """What a job's log begins with: whose it is, since when and until when."""
    job = ""
    if state.job:
        step = f", step {state.step}" if state.step else ""
        again = f", started anew {state.restarts} time{'s' if state.restarts > 1 else ''}" if state.restarts else ""
        job = f" in job {state.job}{step}{again}"
    yield f"{_clock(state.started)}: session {state.id} of {state.called} on {state.host}{job}"
    if state.ends_at:
        yield f"it is shut down at {_clock(state.ends_at)} at the latest"
    yield from state.notes


def _clock(at: float | None = None) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
