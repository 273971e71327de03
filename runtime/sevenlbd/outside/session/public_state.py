"""A session's state as everybody who looks sees it: its phase, and what is told beside that.

What those inside say comes here in any amount, and is told within limits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from ...base.errors import visible
from ...wire.state import Phase, SessionState
from ..console.progress_notes import ProgressNotes
from ..project import standing
from . import worker_standing
from .audience import Audience

_MAX_WARNINGS = 100  # a guess: nobody reads more, and one inside that was taken over may send any number
_MOST_OF_WORKER = 100_000  # a guess: a job every few seconds for days; one that was taken over may say any number
_MOST_TOLD = 50  # a guess: how often a job's log says that its project's network, or room for its disk, came or went
_ORDER = (Phase.PREPARING, Phase.BOOTING, Phase.GUEST_UP, Phase.READY)


class PublicState:
    """The state of one session, and its audience, which is told of each change."""

    def __init__(self, state: SessionState, audience: Audience) -> None:
        self.state = state
        self._audience = audience
        self._display = audience.display
        self._loop = asyncio.get_running_loop()
        self._progress = ProgressNotes("the saved desktop is read")
        self._project_told = 0
        self._room_told = 0
        self._worker_told = 0

    def show(self) -> None:
        """Let everybody who looks see the state as it is."""
        self._audience.show(self.state)

    def advance(self, phase: Phase) -> None:
        """The session is in this phase now."""
        self.state.advance(phase)
        self.show()

    def step(self, phase: Phase) -> None:
        """A step forward on the keeper's word; one that comes late (after a stop, say) changes nothing."""
        if self.state.phase in _ORDER and _ORDER.index(phase) == _ORDER.index(self.state.phase) + 1:
            self.advance(phase)

    def note(self, text: str) -> None:
        """Something that a job's log or a terminal is told."""
        self._display.note(text)

    def warn(self, text: str) -> None:
        """A warning that comes of itself."""
        self.add_warning(text)
        self.show()

    def warn_from_thread(self, text: str) -> None:
        """A warning that another thread has; too late is not at all."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self.warn, text)

    def add_warning(self, text: str) -> None:
        """A warning that is shown with what comes next."""
        if len(self.state.warnings) < _MAX_WARNINGS:
            self.state.warnings.append(visible(text))
            self._display.warn(text)

    def paused(self, why: str) -> None:
        """The machine stands still for want of space."""
        self.state.paused = why
        self._tell_of_room(why)

    def resumed(self, text: str) -> None:
        """There is space again."""
        self.state.paused = ""
        self._tell_of_room(text)

    def _tell_of_room(self, text: str) -> None:
        self._room_told += 1
        if self._room_told <= _MOST_TOLD:
            self._display.warn(text)

    def ways_out(self, wrong: Sequence[str]) -> None:
        """What is wrong with the ways out now, for all who look; a job's log is told of each once, and of the end."""
        for text in wrong:
            if text not in self.state.ways_out:
                self._display.warn(f"ways out: {text}")
        if self.state.ways_out and not wrong:
            self._display.note("the ways out are well again")
        self.state.ways_out = list(wrong)
        self.show()

    def project(self, text: str) -> None:
        """How the project's network stands, for all who look; a job's log is told, too."""
        standing.hear(self.state, text)
        self._project_told += 1
        if self._project_told > _MOST_TOLD:  # a server can make it come and go for ever
            return
        tell = self._display.note if self.state.project_address else self._display.warn
        tell(f"the project's network: {standing.spelled(self.state)}")

    def worker(self, text: str) -> bool:
        """What a guest that joins a pool says of itself. Whether that is anything new."""
        if not worker_standing.hear(self.state, text):
            return False
        self._worker_told += 1
        if self._worker_told <= _MOST_OF_WORKER:
            self._display.worker(self.state)
        return True

    def progress(self, done: int, total: int) -> None:
        """How far the saved desktop is read, for whoever watches the start."""
        if text := self._progress.told(done, total):
            self._display.note(text)

    def is_read(self) -> None:
        """It is read: of a large one, its machine takes some time, too."""
        if self._progress.has_spoken:
            self._display.note("the saved desktop is read, and its machine takes its memory from there")
