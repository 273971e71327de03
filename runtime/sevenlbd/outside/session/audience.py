"""Everybody who shows a session: its file, the display, the pages, and those on other nodes."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ...wire.state import SessionState
from ..access.gateway_link import GatewayLink
from ..console.display import Display
from ..folders import session_folders
from ..presence.announcer import Announcer


@dataclass(frozen=True)
class Audience:
    """Those of one session, whose folder is `place`: there from the moment that there is the folder."""

    display: Display
    place: Path
    gateway: GatewayLink
    presence: Announcer

    def show(self, state: SessionState) -> None:
        """Let the file and the display follow. A full disk must not end a session."""
        self.display.update(state)
        if text := self.display.unheard():
            state.warnings.append(text)
        with suppress(OSError):
            state.write(self.place / session_folders.STATE)
        self.gateway.show(state)
        self.presence.show(state)
