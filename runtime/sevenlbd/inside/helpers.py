"""Helpers that are started again when they die: dnsmasq, smbd, swtpm, the gateway."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from ..process import spawn

log = logging.getLogger(__name__)

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
_WELL_AFTER = 60.0


@asynccontextmanager
async def kept_running(
    name: str,
    command: Sequence[str],
    log_file: Path,
    warn: Callable[[str], None],
    *,
    pass_fds: Sequence[int] = (),
) -> AsyncIterator[None]:
    """Run `command` for as long as this lasts. A death is told and followed by a restart, ever later."""
    process = await spawn(command, log_file=log_file, pass_fds=pass_fds)

    async def look_after() -> None:
        nonlocal process
        pause = _FIRST_PAUSE
        while True:
            started = asyncio.get_running_loop().time()
            code = await process.wait()
            if asyncio.get_running_loop().time() - started > _WELL_AFTER:
                pause = _FIRST_PAUSE
            # At the session's end a helper may go before it is told to: then nobody wants it back.
            await asyncio.sleep(pause)
            warn(f"{name} died ({code}) and is started again")
            pause = min(2 * pause, _LONGEST_PAUSE)
            process = await spawn(command, log_file=log_file, pass_fds=pass_fds)

    guardian = asyncio.create_task(look_after(), name=name)
    try:
        yield
    finally:
        guardian.cancel()
        if process.returncode is None:
            process.terminate()
            await _gone(process)


async def _gone(process: asyncio.subprocess.Process) -> None:
    try:
        await asyncio.wait_for(process.wait(), 2)
    except TimeoutError:
        process.kill()
        await process.wait()
