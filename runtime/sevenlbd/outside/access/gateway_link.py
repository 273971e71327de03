"""The supervisor's end of the wire to the gateway: tells it who may come in and what the session does.

The gateway may be started anew at any time; it says hello and is told all again. What it says is not trusted: all that
it can bring about its user could have asked for, the session's end and the client's bundle, which is given once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from ...wire import packets
from ...wire.gateway import (
    INWARDS,
    OUTWARDS,
    Bundle,
    BundleWanted,
    FarewellSaid,
    Front,
    Hello,
    StopPressed,
    SuspendPressed,
)
from ...wire.state import FINAL, Phase, SessionState

_FAREWELL_SECONDS = 1.0  # the gateway gives the pages 0.6 of them, and ends (gateway/gate.py)


class GatewayLink:
    """The wire, what was last told on it, and what comes back. `theirs` goes inside with the plan."""

    def __init__(
        self, stop: Callable[[bool], None], bundle: Callable[[], bytes], suspend: Callable[[], None] = lambda: None
    ) -> None:
        """`stop(at_once)` ends the session, `suspend()` writes it to its file.

        `bundle()` takes the client's bundle, and is empty when there is none.
        """
        self._ours, self.theirs = packets.pair()
        self._ours.setblocking(False)
        self._stop = stop
        self._bundle = bundle
        self._suspend = suspend
        self._front: Front | None = None
        self._state = b""
        self._phase = Phase.PREPARING
        self._there = False
        self._told = asyncio.Event()

    def show(self, state: SessionState) -> None:
        """Tell the session's state, when there is somebody to tell."""
        self._state, self._phase = INWARDS.pack(state), state.phase
        self._send_state()

    def let_in(self, front: Front) -> None:
        """Tell who may come in from now on."""
        self._front = front
        self._send_front()

    async def listen(self) -> None:
        """Hear the gateway until the wire is closed."""
        loop = asyncio.get_running_loop()
        with suppress(OSError):
            while data := await loop.sock_recv(self._ours, packets.MAX_MESSAGE):
                self._on_message(data)

    async def farewell(self) -> None:
        """Give the pages a moment to show how the session ended."""
        if self._there and self._phase in FINAL:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._told.wait(), _FAREWELL_SECONDS)

    def close(self) -> None:
        """Both ends that are ours."""
        self._ours.close()
        self.theirs.close()

    def _on_message(self, data: bytes) -> None:
        match OUTWARDS.unpack_or_none(data):
            case Hello():
                self._there = True
                self._send_front()
                self._send_state()
            case StopPressed(now):
                self._stop(now)
            case SuspendPressed():
                self._suspend()
            case BundleWanted():
                self._send(INWARDS.pack(Bundle(self._bundle())))
            case FarewellSaid():
                self._told.set()

    def _send_front(self) -> None:
        if self._front and self._there:
            self._send(INWARDS.pack(self._front))

    def _send_state(self) -> None:
        if self._state and self._there:
            self._send(self._state)

    def _send(self, message: bytes) -> None:
        # A gateway that is gone or does not listen is told all again when its successor says hello.
        with suppress(OSError):
            self._ours.send(message)
