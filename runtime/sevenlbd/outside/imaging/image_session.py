"""Sessions that make images: the same machine behind the same wall, whose fruit is taken before its folder goes."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

from ...base import process
from ...base.errors import ExitCode
from ...wire.state import SessionState
from ..console.display import Display
from ..session import keeper_link, supervisor
from ..session.preflight.prepared import Prepared

Harvest = supervisor.Harvest


class ImageOutcome:
    """What became of a session."""

    def __init__(self) -> None:
        self.code = ExitCode.OK
        self.state: SessionState | None = None


def run(prepared: Prepared, display: Display, harvest: Harvest) -> ImageOutcome:
    """Run a session to its end, then `harvest(folder, state)` while its folder is still there. Raises Refusal."""
    handlers = {number: signal.getsignal(number) for number in process.END_SIGNALS}
    try:
        return asyncio.run(_run(prepared, display, harvest))
    finally:
        # The supervisor leaves none behind; what comes after a session is to be unwound, too.
        for number, handler in handlers.items():
            signal.signal(number, handler)


async def _run(prepared: Prepared, display: Display, harvest: Harvest) -> ImageOutcome:
    outcome = ImageOutcome()

    def ended(folder: Path, state: SessionState) -> None:
        outcome.state = state
        harvest(folder, state)

    async with keeper_link.started() as link:
        await link.inside()
        outcome.code = await supervisor.run(link, prepared, display, ended)
    return outcome
