"""Announces a session for other nodes and for a portal, from a thread of its own.

A file server that hangs holds up this thread and nothing else. Only the newest state is written; what could not be
written is told once, and tried again with the next change.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ...base.heartbeat import RENEW_SECONDS
from ...wire.state import Phase, SessionState
from ..access import credentials
from ..folders import session_folders
from . import records
from .records import PresenceTarget

_GOODBYE_SECONDS = 2.0  # to take away the records; a file server that is away does not hold up the end


class Announcer:
    """What is to be told, and the thread that tells it. `warn` is called from there, with what a user should know."""

    def __init__(self, targets: Sequence[PresenceTarget], folder: Path, warn: Callable[[str], None]) -> None:
        """`folder` is the session's folder, where its keys are."""
        self._targets = list(targets)
        self._place = folder
        self._warn = warn
        self._change = threading.Condition()
        self._news: SessionState | None = None
        self._over = False
        self._entered: dict[PresenceTarget, str] = {}
        """Where we have a place, and the key that was last left there."""
        self._complained: set[PresenceTarget] = set()

    def show(self, state: SessionState) -> None:
        """Something has changed. Never waits for a file."""
        with self._change:
            self._news = copy.deepcopy(state)
            self._change.notify()

    def end(self) -> None:
        """There will be no more news."""
        with self._change:
            self._over = True
            self._change.notify()

    def work(self) -> None:
        """The thread's whole life."""
        for state in self._told():
            for target in self._targets:
                try:
                    self._write_records(target, state)
                except OSError as error:
                    self._complain(target, error)
        for target in self._entered:
            with suppress(OSError):
                records.leave(target)

    def _told(self) -> Iterator[SessionState]:
        """Each newest state; and the last one again when it is time to say that we are still here."""
        last = None
        while True:
            with self._change:
                if not self._news and not self._over:
                    self._change.wait(RENEW_SECONDS)
                news, self._news = self._news, None
                if not news and self._over:
                    return
            if last := news or last:
                yield last

    def _write_records(self, target: PresenceTarget, state: SessionState) -> None:
        if target not in self._entered:
            records.enter(target)
            self._entered[target] = ""
            records.sweep(None if target.portal else target.folder.parent)
        state.write(target.folder / session_folders.STATE)
        records.renew(target)
        if target.key and (state.phase is Phase.READY or not target.portal):
            self._leave_key(target, state)

    def _leave_key(self, target: PresenceTarget, state: SessionState) -> None:
        try:
            connection = records.connection(state, credentials.read(self._place))
        except (OSError, ValueError):
            return  # not made yet
        if connection != self._entered[target]:
            records.write_connection(target, connection)
            self._entered[target] = connection

    def _complain(self, target: PresenceTarget, error: OSError) -> None:
        if target not in self._complained:
            self._complained.add(target)
            lost = "the portal learns nothing" if target.portal else "other nodes learn nothing"
            self._warn(f"{error.filename or target.folder}: {error.strerror}: {lost} of this session")


@contextmanager
def announced(targets: Sequence[PresenceTarget], folder: Path, warn: Callable[[str], None]) -> Iterator[Announcer]:
    """An announcer at work. At the end it gets a moment to take its records back, no more."""
    announcer = Announcer(targets, folder, warn)
    thread = threading.Thread(target=announcer.work, name="announcer", daemon=True)
    if targets:
        thread.start()
    try:
        yield announcer
    finally:
        announcer.end()
        if targets:
            thread.join(_GOODBYE_SECONDS)
