"""The verb `run`. Checker and keeper start before anything slow is loaded here, so that all three load at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...base.errors import ExitCode, Refusal
from .preflight.checker import Checker


def run(words: Sequence[str], umask: int) -> int:
    """Start a desktop and stay until it ends; returns the exit code. Raises Refusal."""
    checker = Checker(words, umask)
    import asyncio

    return asyncio.run(_run(checker))


async def _run(checker: Checker) -> int:
    """Without a plan the keeper does nothing, so a refusal needs nothing undone but the keeper."""
    from . import keeper_link

    async with keeper_link.started() as link:
        from ..console import display
        from ..presence import records
        from . import supervisor

        checked = await checker.answer()
        shown = display.choose(as_json=checked.as_json, sif=checked.sif)
        try:
            checked.raise_trouble()
            if checked.prepared is None:
                return checked.code
            await link.inside()
            code = await supervisor.run(link, checked.prepared, shown)
            return checked.prepared.options.suspended_code if code is ExitCode.SUSPENDED else code
        except Refusal as refusal:
            shown.refused(refusal)
            if checked.report:
                records.refused(Path(checked.report), refusal)
            raise
