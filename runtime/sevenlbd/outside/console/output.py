"""The one output that all displays share. A full disk or a closed pipe is told once, elsewhere, and ends nothing."""

from __future__ import annotations

from ...wire.state import SessionState
from .terminal import say_on


def say(*lines: str, error: bool = False) -> None:
    if trouble := say_on(*lines, error=error):
        Output.trouble = Output.trouble or trouble


class Output:
    """What could not be written, for all displays: there is one output."""

    trouble = ""
    told = False

    def worker(self, state: SessionState) -> None:
        """Of a guest that joins a pool; nothing where no such guest can be."""

    def unheard(self) -> str:
        """Why nothing of this is read, the first time that there is a reason."""
        if not Output.trouble or Output.told:
            return ""
        Output.told = True
        return f"the output cannot be written ({Output.trouble}): what would stand there is on the page and in `status`"
