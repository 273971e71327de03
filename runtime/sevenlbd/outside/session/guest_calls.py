"""Programs that are run in the guest: of a session that was planned for acceptance, or for jobs."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import count

from ...base.errors import ExitCode, Refusal
from ...wire.keeper import GuestAnswer, GuestCommand, RunJob, ShutDown
from .keeper_link import KeeperLink

_LATE_SECONDS = 30.0  # what the agent's own time limits come to beside the program's


class GuestCalls:
    """Those under way. A desktop's session takes none: it may be its user's only, and its guest an administrator's."""

    def __init__(self, link: KeeperLink, *, allowed: bool, jobs: bool = False) -> None:
        self._link = link
        self._allowed = allowed
        self._jobs = jobs
        self._numbers = count(1)
        self._pending: dict[int, asyncio.Future[GuestAnswer]] = {}

    async def run(self, wanted: GuestCommand) -> GuestAnswer:
        """Have a program run and wait for its end; its number is ours to choose.

        Raises Refusal where that is not allowed, TimeoutError.
        """
        self._check()
        number = next(self._numbers)
        self._pending[number] = asyncio.get_running_loop().create_future()
        try:
            self._link.send(replace(wanted, number=number))
            return await asyncio.wait_for(self._pending[number], wanted.seconds + _LATE_SECONDS)
        finally:
            del self._pending[number]

    def check_job(self, folder: str) -> None:
        """Raises Refusal where the session is for something else, or that is no folder of the share `job`."""
        if not self._jobs:
            what = "this session was not started for commands"
            raise Refusal(ExitCode.USAGE, what, hint="7lbd exec --keep NAME --image IMAGE")
        if not (folder.isascii() and folder.isdigit()):
            raise Refusal(ExitCode.USAGE, f"{folder!r} is no job's folder")

    async def run_job(self, folder: str) -> GuestAnswer:
        """Have the guest run the job in this folder of the share `job`; returns when its hook has ended."""
        self.check_job(folder)
        number = next(self._numbers)
        self._pending[number] = asyncio.get_running_loop().create_future()
        try:
            self._link.send(RunJob(number, folder))
            return await self._pending[number]
        finally:
            del self._pending[number]

    def over(self) -> None:
        """The session ends: nobody will answer any more."""
        for waiting in self._pending.values():
            if not waiting.done():
                waiting.set_result(GuestAnswer(0, failure="the session has ended"))

    def shut_down(self, by: str) -> None:
        """Ask the guest to shut down, by its `agent` or by the power `button` alone. Raises Refusal."""
        self._check()
        self._link.send(ShutDown(by))

    def answered(self, answer: GuestAnswer) -> None:
        """The keeper's word of one; of one that nobody waits for it is passed over."""
        waiting = self._pending.get(answer.number)
        if waiting and not waiting.done():
            waiting.set_result(answer)

    def _check(self) -> None:
        if not self._allowed:
            what = "this session was not started for an acceptance"
            raise Refusal(ExitCode.USAGE, what, hint="7lbd image accept NAME")
