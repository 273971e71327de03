"""What a session of a command's tells: the machine's troubles, and when it is ready, whereupon the command runs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from ...base.errors import ExitCode, Refusal
from ...wire.state import Phase, SessionState
from ..console.output import Output
from ..session import control
from ..session.preflight.prepared import Prepared
from . import outlet, sinks
from .attached import GuestJob
from .request import JobRequest
from .verdict import CommandEnd, OwnCode

_STOPPED = (ExitCode.INTERRUPTED, ExitCode.TERMINATED)
_LAST_SECONDS = 2.0  # for whoever reads us, when we were asked to end


class JobDisplay(Output):
    """A display (console/display.py) that has the command run. Standard output is the command's alone."""

    def __init__(self, prepared: Prepared, request: JobRequest) -> None:
        self._windows = prepared.plan.guest.os == "windows"
        self._request = request
        self._last: Phase | None = None
        self._job: GuestJob | None = None
        self._end: CommandEnd | None = None
        self._session: ExitCode | None = None
        self._sinks: sinks.Sinks = sinks.Json() if request.as_json else sinks.Raw()

    def hear(self, number: int) -> bool:
        """A signal: the command's, while there is one; a machine that has none, or no more, is ended."""
        if self._job is None or self._end is not None:
            return False
        self._job.urge(number)
        return True

    def over(self, session: ExitCode) -> None:
        """How the session has ended."""
        self._session = session

    @contextmanager
    def until_taken(self) -> Iterator[None]:
        """All that is told within is taken when this ends: by a reader who stalls only while nobody wants our end."""
        try:
            yield
        finally:
            hurried = self._session in _STOPPED or (self._job is not None and self._job.hurried)
            outlet.flush(outlet.patience(_LAST_SECONDS) if hurried else lambda: False)

    @property
    def exit_code(self) -> int:
        """The command's; without one, ours."""
        session = self._session
        if self._end is not None:
            return self._end.code
        if session is not None and session in _STOPPED:
            return session
        return ExitCode.OK if session is ExitCode.OK and self._request.order is None else OwnCode.FAILED

    def update(self, state: SessionState) -> None:
        if self._last is None:
            for text in state.warnings:
                self.warn(text)
        if state.phase is not self._last:
            self._last = state.phase
            self._sinks.event("phase", asdict(state))

    def warn(self, text: str) -> None:
        self._sinks.tell(f"WARNING: {text}")
        self._sinks.event("warning", {"text": text})

    def note(self, text: str) -> None:
        self._sinks.event("note", {"text": text})

    def ready(self, state: SessionState) -> None:
        self._sinks.event("ready", {"id": state.id, "folder": state.folder})
        if self._request.order is None:
            self._sinks.tell(f"session {state.id} is ready: 7lbd exec --session {state.id} -- PROGRAM ARGUMENTS")
            return
        folder = Path(state.folder)
        self._job = GuestJob(folder, self._request, self._sinks, windows=self._windows)
        threading.Thread(target=self._run, args=(self._job, folder), daemon=True).start()

    def _run(self, job: GuestJob, folder: Path) -> None:
        end = job.run()
        self._end = end
        if self._request.keep:
            return
        with suppress(OSError, ValueError):
            control.send_stop(folder, now=True)

    def kept(self, folder: Path) -> None:
        self._sinks.tell(f"logs and last screen are kept in {folder}")
        self._sinks.event("kept", {"folder": str(folder)})

    def finished(self, state: SessionState) -> None:
        if state.phase is Phase.FAILED and self._end is None:
            self._sinks.tell(f"FAILED: {state.reason}")
            if state.hint:
                self._sinks.tell(f"  {state.hint}")
        self._sinks.event("finished", asdict(state))

    def refused(self, refusal: Refusal) -> None:
        """Told where it is caught."""
