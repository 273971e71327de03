"""Which sessions an acceptance starts, and what is asked of each. Nothing is judged here."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ...base.errors import visible
from ...images.description import Description
from . import examined_session, exec_trial, guest_scripts, rdp_certificate
from .criteria.evidence import ClockReading, Evidence, SessionRecord
from .criteria.exec_criteria import FOUND, ON_DESKTOP
from .examined_session import ExaminedSession

SCRIPTS = ("setup", "machine", "account", "hygiene", "licence")
"""What is asked of the first cold session; `clock` and `chance` are asked of every one."""
_COLD_STARTS = 5  # of a whole acceptance; the figures of one start say little
_SOCKET = "rdp.sock"
_NOTICE_SECONDS = 60.0  # as a session itself gives the image's program
_DRIFT_SECONDS = 600.0  # the promise is by ten minutes
_IDLE_SECONDS, _QUICK_IDLE_SECONDS = 600.0, 20.0  # what begins by itself in Windows does so within minutes
_STAGGER = 3.0  # seconds between two looks at the clock while a guest starts anew


@dataclass(frozen=True)
class CourseOptions:
    """What is wanted of one acceptance. Seconds."""

    quick: bool
    base: Path
    """The folder in which the sessions have theirs."""
    run_options: tuple[str, ...]
    """For `run`: the image and what else was asked for."""
    ready_timeout: float
    stop_grace: float
    exec_options: tuple[str, ...] = ()
    """For `exec`: the same without ways in."""


class Gatherer(Protocol):
    """Something more that is asked of a session while it is ready; what it finds goes into `record.more`."""

    name: str
    quick: bool

    def gather(self, session: ExaminedSession, record: SessionRecord) -> None:
        """Ask. Raises OSError: then nothing was found."""


class Course:
    """One acceptance under way. `tell` hears what happens, a line each."""

    def __init__(
        self,
        options: CourseOptions,
        evidence: Evidence,
        tell: Callable[[str], None],
        gatherers: Sequence[Gatherer] = (),
    ) -> None:
        self._options = options
        self._evidence = evidence
        self._tell = tell
        self._gatherers = gatherers
        self._number = 0

    def run(self) -> None:
        """Start all sessions, one after the other, and ask them."""
        self._cold(end_by="agent", ask=True)
        if self._evidence.first_cold().failure:
            return
        # A second one shows what cold starts have in common that they must not.
        self._cold(end_by="button", ask=False)
        for _ in range(0 if self._options.quick else _COLD_STARTS - len(self._evidence.cold)):
            self._cold(end_by="agent", ask=False)
        if self._evidence.description.exec_hook and not self._options.quick:
            self._exec()
        if not self._evidence.no_warm:
            self._warm(idle=True)
            self._warm(idle=False)

    def _cold(self, *, end_by: str, ask: bool) -> None:
        record = SessionRecord(warm=False)
        self._evidence.cold.append(record)
        self._tell(f"cold start {len(self._evidence.cold)}")
        with self._started(record, "--no-warm") as session:
            if not self._ready(session, record):
                return
            self._common(session, record)
            if ask:
                self._ask_all(session, record)
            self._end(session, record, end_by)

    def _exec(self) -> None:
        self._tell("a command as a job")
        trials = {FOUND: exec_trial.tried}
        if self._evidence.description.exec_desktop:
            trials[ON_DESKTOP] = exec_trial.on_desktop
        for name, trial in trials.items():
            try:
                windows = self._evidence.is_windows
                found = trial(self._options.exec_options, self._options.base, windows=windows)
            except OSError as error:
                found = visible(str(error))
            self._evidence.first_cold().more[name] = found

    def _warm(self, *, idle: bool) -> None:
        record = SessionRecord(warm=True)
        self._evidence.warm.append(record)
        self._tell(f"warm start {len(self._evidence.warm)}")
        with self._started(record, "--warm") as session:
            if not self._ready(session, record):
                return
            self._common(session, record)
            if idle:
                seconds = _QUICK_IDLE_SECONDS if self._options.quick else _IDLE_SECONDS
                self._tell(f"CPU use for {seconds:.0f} s")
                record.idle_cpu = session.cpu_share(seconds)

    def _started(self, record: SessionRecord, *options: str) -> AbstractContextManager[ExaminedSession]:
        self._number += 1
        record.began = time.time()
        return examined_session.started(
            self._options.base,
            f"accept-{self._number}",
            windows=self._evidence.is_windows,
            quick=self._options.quick,
            options=[*self._options.run_options, *options],
        )

    def _ready(self, session: ExaminedSession, record: SessionRecord) -> bool:
        record.failure = visible(session.wait_ready(self._options.ready_timeout))
        record.state, record.qemu_log, record.secrets = session.state, session.qemu_log(), session.secrets()
        return not record.failure

    def _common(self, session: ExaminedSession, record: SessionRecord) -> None:
        """What is asked of every session, the clock first: each second counts."""
        record.clocks |= _clock(session, "start")
        record.facts["chance"] = session.ask("chance")
        try:
            record.certificate = rdp_certificate.shown(session.folder / _SOCKET)
        except (OSError, ValueError) as error:
            record.more["certificate"] = f"the RDP server shows none: {error}"

    def _ask_all(self, session: ExaminedSession, record: SessionRecord) -> None:
        for script in SCRIPTS:
            if guest_scripts.exists(script, windows=self._evidence.is_windows):
                self._tell(f"asking for: {script}")
            record.facts[script] = session.ask(script, account=self._evidence.description.user)
        record.notice = self._notice(session, self._evidence.description)
        for gatherer in self._gatherers:
            if gatherer.quick or not self._options.quick:
                self._tell(gatherer.name)
                try:
                    gatherer.gather(session, record)
                except OSError as error:
                    # What is not found is `cannot tell`; an hour of other findings is not lost for it.
                    self._tell(f"{gatherer.name}: {visible(str(error))}")
        if not self._options.quick:
            self._drift(session, record)
            self._restart(session, record)

    def _notice(self, session: ExaminedSession, described: Description) -> str | None:
        if not described.notice_hook:
            return None
        answer = session.run(described.notice_hook, b"This is a test: nothing ends.\n", _NOTICE_SECONDS)
        if answer.failure or not answer.code:
            return answer.failure
        return f"it ended with {answer.code}: {visible(answer.err.decode(errors='replace').strip()[-200:])}"

    def _drift(self, session: ExaminedSession, record: SessionRecord) -> None:
        """The clock before and after ten minutes in which every CPU is busy."""
        self._tell(f"clock under load for {_DRIFT_SECONDS:.0f} s")
        record.clocks |= _clock(session, "drift-before")
        session.ask("load", seconds=_DRIFT_SECONDS + _NOTICE_SECONDS, seconds_of_load=f"{_DRIFT_SECONDS:.0f}")
        record.clocks |= _clock(session, "drift-after")

    def _restart(self, session: ExaminedSession, record: SessionRecord) -> None:
        """The clock after the guest has started anew by itself."""
        self._tell("the guest starts anew")
        before = session.ask("chance").one("boot")
        session.ask("restart")
        deadline = time.monotonic() + self._options.ready_timeout
        while time.monotonic() < deadline:
            time.sleep(_STAGGER)
            now = session.ask("chance", seconds=_NOTICE_SECONDS)
            if now.one("boot") not in (None, before):
                record.clocks |= _clock(session, "restart")
                return

    def _end(self, session: ExaminedSession, record: SessionRecord, by: str) -> None:
        self._tell(f"shut-down by the {by} alone")
        record.end_asked, record.end_seconds = by, session.shut_down(by, self._options.stop_grace)
        record.state = session.state or record.state


def _clock(session: ExaminedSession, occasion: str) -> dict[str, ClockReading]:
    """The guest's clock now; nothing when it does not say."""
    before = time.time()
    seconds = session.ask("clock").number("seconds")
    after = time.time()
    return {} if seconds is None else {occasion: ClockReading(before, seconds, after)}
