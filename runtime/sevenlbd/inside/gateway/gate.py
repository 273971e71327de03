"""What the gateway's parts share: who may come in, how the session is, and who is watching."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from ... import messages
from ...messages import Front


class Ask(Protocol):
    """Sends {"kind": kind} up the wire to the supervisor; `now` goes with a stop."""

    def __call__(self, kind: str, *, now: bool = False) -> None: ...


class Gate:
    """One per process. The link calls `on_front` and `on_state`; the application reads."""

    def __init__(self, ask: Ask, rdp: tuple[str, int], vnc: str = "") -> None:
        """`rdp` is where the guest's RDP server is; `vnc` QEMU's socket, empty when the console is off."""
        self.ask = ask
        self.rdp = rdp
        self.vnc = vnc
        self.front: Front | None = None
        self.state: dict[str, Any] = {}
        self.changed = asyncio.Event()

    def on_front(self, front: Front) -> None:
        """Who may come in from now on."""
        self.front = front

    def on_state(self, state: dict[str, Any]) -> None:
        """How the session is now."""
        self.state = state
        if state.get("phase") in ("ended", "failed"):
            self.ask(messages.TOLD)
