"""What `submit` shows while it follows a job: first the queue, then the session as `run` would show it."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Protocol

from ...base.errors import visible
from ...wire.state import SessionState
from ..console import terminal
from ..console.json_lines import JsonLines
from ..console.live_table import Terminal
from ..console.plain_lines import Lines
from ..schedulers.scheduler import Job
from .following import JobWatcher

if TYPE_CHECKING:
    from rich.status import Status


class Progress(JobWatcher, Protocol):
    """A watcher that can be sent away."""

    def submitted(self, job: str) -> None:
        """The job has been taken."""

    def close(self) -> None:
        """Leave the terminal as it was."""


def choose(*, as_json: bool) -> Progress:
    """What fits the standard output."""
    if as_json:
        return Events()
    if sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        return QueueTable()
    return QueueLines()


class Events(JsonLines):
    """JSON lines: `job` for the scheduler's word, then the session's own events."""

    def __init__(self) -> None:
        super().__init__()
        self._said = ""

    def submitted(self, job: str) -> None:
        self._job(job, "submitted", "")

    def waits(self, job: Job) -> None:
        self._job(job.id, job.state.lower(), job.reason)

    def runs(self, job: Job) -> None:
        self._job(job.id, job.state.lower(), job.nodes)

    def session(self, state: SessionState) -> None:
        self.update(state)

    def close(self) -> None:
        pass

    def _job(self, job: str, state: str, note: str) -> None:
        if self._said != f"{state} {note}":
            self._said = f"{state} {note}"
            terminal.say_json({"event": "job", "job": job, "state": state, "note": note}, indent=None)


class QueueLines(Lines):
    """Plain lines, one for each change."""

    def __init__(self) -> None:
        super().__init__("")
        self._said = ""

    def submitted(self, job: str) -> None:
        self._say(f"job {job} is handed in")

    def waits(self, job: Job) -> None:
        self.begin_anew()
        self._say(f"job {job.id}: {visible(str(job))}")

    def runs(self, job: Job) -> None:
        self._say(f"job {job.id} runs on {visible(job.nodes)}")

    def session(self, state: SessionState) -> None:
        self.update(state)

    def close(self) -> None:
        pass

    def _find_link(self, state: SessionState) -> str:
        return ""  # it is for the node; how to come there is told when the desktop is ready

    def _say(self, text: str) -> None:
        if text != self._said:
            self._said = text
            terminal.say(f"7lbd: {text}")


class QueueTable(Terminal):
    """A line that turns while the job waits, then the table of phases."""

    def __init__(self) -> None:
        super().__init__("")
        self._turning: Status | None = None

    def submitted(self, job: str) -> None:
        self._turn(f"job {job} is handed in")

    def waits(self, job: Job) -> None:
        self._close()
        self.begin_anew()
        self._turn(f"job {job.id} {job}")

    def runs(self, job: Job) -> None:
        self._turn(f"job {job.id} runs on {job.nodes}; its session begins")

    def session(self, state: SessionState) -> None:
        self._stop_turning()
        self.update(state)

    def close(self) -> None:
        self._stop_turning()
        self._close()

    def _find_link(self, state: SessionState) -> str:
        return ""

    def _turn(self, text: str) -> None:
        from rich.status import Status  # costs time: the job is on its way by now
        from rich.text import Text

        if self._turning:
            self._turning.update(Text(visible(text)))
            return
        self._turning = Status(Text(visible(text)))
        self._turning.start()

    def _stop_turning(self) -> None:
        if self._turning:
            self._turning.stop()
            self._turning = None
