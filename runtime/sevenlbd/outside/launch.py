"""The verb `run`. The keeper starts before anything slow is loaded here, so that both sides load at once."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence

from ..errors import Refusal
from . import keeper_link


def run(words: Sequence[str], umask: int) -> int:
    """Start a desktop and stay until it ends; returns the exit code. Raises Refusal."""
    return asyncio.run(_run(words, umask))


async def _run(words: Sequence[str], umask: int) -> int:
    """Without a plan the keeper does nothing, so a refusal needs nothing undone but the keeper."""
    async with keeper_link.started() as link:
        # Not before the keeper is on its way: these take longer to load than the whole keeper.
        from . import cli, display, places, preflight, supervisor

        options = cli.parse(words)
        here = places.look_around(os.environ)
        chosen = places.settings(here, cli.source(options)).settings
        shown = display.choose(as_json=chosen.json_events, sif=here.sif)
        try:
            prepared = preflight.prepare(chosen, here.environment, umask, places.image_folders(here, chosen))
            await link.inside()
            return await supervisor.run(link, prepared, chosen, shown)
        except Refusal as refusal:
            shown.refused(refusal)
            raise
