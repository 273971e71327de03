"""One command in a machine that is there: its folder on the share `job`, its hook, its streams, its files."""

from __future__ import annotations

import fcntl
import os
import secrets
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ...base.errors import ExitCode, Refusal
from ...wire.job_files import WORK
from ..folders import job_folder, session_folders
from ..session import control
from . import transfer
from .request import JobRequest
from .running import Running
from .sinks import Sinks
from .verdict import CommandEnd, failed, interrupted

LEAD = 20.0  # seconds before its machine's end: ten to end politely, and as much for its files; a guess
_HIGHEST = 10**12  # of a job's number; two that are chosen at random are not the same


class GuestJob:
    """A command that is to run in the session whose folder is `session`."""

    def __init__(self, session: Path, request: JobRequest, sinks: Sinks, *, windows: bool) -> None:
        self._session = session
        self._request = request
        self._sinks = sinks
        self._windows = windows
        self._hook = _Hook(session, str(secrets.randbelow(_HIGHEST)))
        source = 0 if request.order and request.order.input else None
        self._signal = int(signal.SIGINT)
        self._running = Running(source, sinks, self._hook.why_over, timeout=request.timeout)

    def urge(self, number: int = signal.SIGINT) -> None:
        """Ask it to end, as this signal has it; the second time at once. May be called by a signal handler."""
        self._signal = number
        self._running.urge()

    @property
    def hurried(self) -> bool:
        """Whether it was asked to end, or ran out of time: then nobody waits for whoever reads what it printed."""
        return self._running.urged > 0

    def run(self) -> CommandEnd:
        """Run it to its end, and tell that."""
        try:
            end = self._run()
        except Refusal as refusal:
            end = failed(refusal.what)
        except OSError as error:
            end = failed(f"{error.filename or self._session}: {error.strerror}")
        with suppress(OSError):
            self._sinks.ended(end)
        return end

    def _run(self) -> CommandEnd:
        request, work = self._request, self._session / WORK
        if not request.apart:
            return self._in_guest()
        with _alone(work) as held:
            try:
                transfer.bring(request.inputs, held, lambda: self._running.urged > 0)
            except InterruptedError:
                return interrupted(self._signal)
            end = self._in_guest()
            urged = self._running.urged
            # Also what it wrote when it was asked to end, out of time: nothing more comes of what has ended.
            return end if end.lost else transfer.fetched(held, request, end, lambda: self._running.urged > urged)

    def _in_guest(self) -> CommandEnd:
        order = self._request.order
        assert order is not None, "a machine that is only kept runs nothing"
        with job_folder.made(self._session, self._hook.number) as folder:
            order.write(folder, windows=self._windows)
            self._running.leave_at = _leave_at(self._session)
            self._hook.start()
            end = self._running.wait(folder)
            # What a guest that does not listen may yet hear stays, until the session's end.
            folder.stays = end.lost
            return end


def ends_soon(session: Path) -> bool:
    """Whether the machine's own end is so near that no command is begun in it any more."""
    state = session_folders.read_state(session)
    return state is not None and 0 < state.ends_at < time.time() + LEAD


def _leave_at(session: Path) -> float:
    """When a command is asked to end, as its machine will: seconds since the epoch."""
    state = session_folders.read_state(session)
    if state is None or not state.ends_at:
        return float("inf")
    return state.ends_at - min(LEAD, max(state.ends_at - time.time(), 0.0) / 2)


@contextmanager
def _alone(work: Path) -> Iterator[int]:
    """One command at a time works on copies in a machine: yields that folder's descriptor. Raises Refusal."""
    folder = os.open(work, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield folder
    except BlockingIOError:
        what = "another command works on copies in this machine (--input, --output), and its files would be lost"
        raise Refusal(ExitCode.RESOURCES, what, hint="wait for it, or exec without --session") from None
    finally:
        os.close(folder)


class _Hook(threading.Thread):
    """The order to the guest, and what came of it: the hook ends when the command has, or could not begin."""

    def __init__(self, session: Path, number: str) -> None:
        super().__init__(daemon=True)
        self._session = session
        self.number = number
        self._over = ""

    def run(self) -> None:
        """The thread's whole life."""
        try:
            answer = control.send_job(self._session, self.number)
        except (OSError, ValueError) as error:
            self._over = f"the session does not answer: {error}"
            return
        said = answer.err.decode(errors="replace").strip().rpartition("\n")[2]
        self._over = answer.failure or f"the guest's hook ended with {answer.code}: {said or 'it says no more'}"

    def why_over(self) -> str:
        """Empty while it runs."""
        return self._over


def has_stdin() -> bool:
    """Whether something may come on our standard input: a terminal in whose background we are would stop us."""
    try:
        return not os.isatty(0) or os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False
