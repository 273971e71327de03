"""Helpers that are started again when they die: dnsmasq, smbd, swtpm, the gateway."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from ...base.process import spawn
from ..init import process_limit

log = logging.getLogger(__name__)

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0  # seconds, doubled in between: one that cannot run does not fill the log
_WELL_AFTER = 60.0  # seconds; what has run for so long could start


class Kept:
    """A helper that runs, its successor when it died."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.replaced = False

    def replace(self) -> None:
        """Have it started anew at once, and say nothing of it: its configuration has changed."""
        if self.process.returncode is None:
            self.replaced = True
            self.process.kill()


@asynccontextmanager
async def kept_running(
    name: str,
    command: Sequence[str],
    log_file: Path,
    warn: Callable[[str], None],
    *,
    pass_fds: Sequence[int] = (),
) -> AsyncIterator[Kept]:
    """Run `command` for as long as this lasts. A death is told and followed by a restart, ever later."""
    command = process_limit.limited(command)
    kept = Kept(await spawn(command, log_file=log_file, pass_fds=pass_fds))

    async def look_after() -> None:
        pause = _FIRST_PAUSE
        while True:
            started = asyncio.get_running_loop().time()
            code = await kept.process.wait()
            if kept.replaced:
                kept.replaced = False
            else:
                if asyncio.get_running_loop().time() - started > _WELL_AFTER:
                    pause = _FIRST_PAUSE
                # At the session's end a helper may go before it is told to: then nobody wants it back.
                await asyncio.sleep(pause)
                warn(f"{name} died ({code}) and is started again")
                pause = min(2 * pause, _LONGEST_PAUSE)
            try:
                kept.process = await spawn(command, log_file=log_file, pass_fds=pass_fds)
            except OSError as error:  # the limit of processes, say: it is tried again, as one that died at once
                log.warning("%s cannot be started: %s", name, error.strerror)

    guardian = asyncio.create_task(look_after(), name=name)
    try:
        yield kept
    finally:
        guardian.cancel()
        if kept.process.returncode is None:
            kept.process.terminate()
            await _gone(kept.process)


async def _gone(process: asyncio.subprocess.Process) -> None:
    try:
        await asyncio.wait_for(process.wait(), 2)
    except TimeoutError:
        process.kill()
        await process.wait()
