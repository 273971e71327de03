"""Sessions that make images: the same machine behind the same wall, whose fruit is taken before its folder goes."""

from __future__ import annotations

import asyncio
from pathlib import Path

from ...errors import ExitCode
from ...state import SessionState
from .. import keeper_link, supervisor
from ..display import Display
from ..prepared import Prepared

Harvest = supervisor.Harvest


class Outcome:
    """What became of a session."""

    def __init__(self) -> None:
        self.code = ExitCode.OK
        self.state: SessionState | None = None


def run(prepared: Prepared, display: Display, harvest: Harvest) -> Outcome:
    """Run a session to its end, then `harvest(folder, state)` while its folder is still there. Raises Refusal."""
    return asyncio.run(_run(prepared, display, harvest))


async def _run(prepared: Prepared, display: Display, harvest: Harvest) -> Outcome:
    outcome = Outcome()

    def ended(place: Path, state: SessionState) -> None:
        outcome.state = state
        harvest(place, state)

    async with keeper_link.started() as link:
        await link.inside()
        outcome.code = await supervisor.run(link, prepared, display, ended)
    return outcome
