"""A helper that dies is started again, whatever is in the way of that."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path
from typing import Any

import pytest
from sevenlbd.inside.services import helpers


class Process:
    """One that has died already, or lives on until it is told to end."""

    def __init__(self, code: int | None) -> None:
        self.returncode = code
        self._over = asyncio.Event()
        if code is not None:
            self._over.set()

    async def wait(self) -> int:
        await self._over.wait()
        return self.returncode or 0

    def terminate(self) -> None:
        self.returncode = 0
        self._over.set()


def test_one_that_cannot_be_started_for_a_moment_is_started_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guest has smbd start processes up to the session's limit, and something else dies just then."""

    async def lived() -> list[str]:
        lives, warned = asyncio.Event(), list[str]()
        fates: list[int | OSError | None] = [1, OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)), None]

        async def spawn(*_: object, **__: object) -> Any:
            fate = fates.pop(0)
            if isinstance(fate, OSError):
                raise fate
            if fate is None:
                lives.set()
            return Process(fate)

        monkeypatch.setattr(helpers, "spawn", spawn)
        monkeypatch.setattr(helpers, "_FIRST_PAUSE", 0.0)
        async with helpers.kept_running("smbd", ["smbd"], Path("/dev/null"), warned.append):
            await lives.wait()
        return warned

    assert asyncio.run(asyncio.wait_for(lived(), 30))[0] == "smbd died (1) and is started again"
