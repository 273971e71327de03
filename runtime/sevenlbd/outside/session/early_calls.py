"""Calls for a session from those who may call before it is there: signals, its page, threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from .life import Session

_Call = Callable[[Session], None]


class EarlyCalls:
    """Remembers each call until there is a session; from then on it is put through."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._session: Session | None = None
        self._waiting: list[_Call] = []

    def on_signal(self, number: int) -> None:
        """A signal has come."""
        self._put(lambda session: session.on_signal(number))

    def stop_from_page(self, now: bool) -> None:
        """The stop button."""
        self._put(lambda session: session.stop("stopped from its page", now))

    def suspend_from_page(self) -> None:
        """The suspend button."""
        self._put(lambda session: session.saves.suspend_from_page())

    def warn_from_thread(self, text: str) -> None:
        """A warning that another thread has; too late is not at all."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._put, lambda session: session.public.warn(text))

    def put_through(self, session: Session) -> None:
        """The session is there: it gets what has waited, and all that comes."""
        self._session = session
        for call in self._waiting:
            call(session)
        self._waiting.clear()

    def _put(self, call: _Call) -> None:
        if self._session:
            call(self._session)
        else:
            self._waiting.append(call)
