"""How `run` tells its progress: a live table on a terminal, plain lines elsewhere, or JSON lines.

It shows what the state says and decides nothing. The only secret that comes here is the page's key, and only a terminal
is shown it: a job's log may be readable for others.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Protocol

from ...base.errors import Refusal
from ...wire.state import SessionState
from .json_lines import JsonLines
from .live_table import Terminal
from .plain_lines import Lines


class Display(Protocol):
    """What the supervisor tells its user."""

    def update(self, state: SessionState) -> None:
        """Something in the state has changed."""

    def warn(self, text: str) -> None:
        """A warning that came while the session runs."""

    def note(self, text: str) -> None:
        """Something that happens while the session runs, and that nobody need mend."""

    def worker(self, state: SessionState) -> None:
        """A guest that joins a pool says something else of itself."""

    def ready(self, state: SessionState) -> None:
        """The desktop is ready: how to connect."""

    def kept(self, folder: Path) -> None:
        """A failed session's logs are kept there."""

    def finished(self, state: SessionState) -> None:
        """The session is over and cleaned up."""

    def refused(self, refusal: Refusal) -> None:
        """There is no session; whoever called prints why for people."""

    def unheard(self) -> str:
        """That what was said could not be written, and where; once."""


def choose(*, as_json: bool, sif: str) -> Display:
    """The display that fits the standard output."""
    if as_json:
        return JsonLines()
    if sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        return Terminal(sif)
    return Lines(sif)
