"""Tells when the desktop is ready, and what a client will see; and what is done when it is not, or is to be frozen."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from ..wire import shared_files
from ..wire.keeper import EventKind
from ..wire.plan import Plan
from ..wire.tls import fingerprint
from .init.root import SESSION
from .net import network
from .reports import Reports
from .vm import first_logon, machine, rdp_probe, readiness, stall
from .vm.agent import AgentError
from .vm.migration import MachineError
from .vm.ready_line import ReadyLine

# A guest that is to be frozen first does what it does after its boot; one that never rests is frozen all the same.
_SETTLE_SECONDS, _IDLE_SECONDS, _IDLE_SHARE = 180.0, 5.0, 0.6

_CERTIFICATE_TRIES, _CERTIFICATE_PAUSE = 3, 1.0  # a guess, in seconds: a server that answers shows it at once


class ReadyReport:
    """Of one machine, which is on its way."""

    def __init__(self, plan: Plan, vm: machine.Machine, reports: Reports) -> None:
        self._plan = plan
        self._vm = vm
        self._reports = reports

    async def report(self, line: ReadyLine, served: asyncio.Event) -> bool:
        """Tell when the desktop is ready, and return whether it is used then.

        When it is not in time, tell that and end the machine.
        """
        reached: list[str] = []
        mending = asyncio.create_task(self._mend_stall())

        def milestone(name: str) -> None:
            mending.cancel()
            reached.append(name)
            self._reports.tell(EventKind.MILESTONE, name)

        limit = self._plan.ready_timeout
        try:
            async with asyncio.timeout(limit):
                if self._plan.goes_on:
                    await readiness.wait_until_thawed(self._plan, served, self._vm.agent, milestone, self._reports.warn)
                else:
                    await readiness.wait_until_ready(self._plan, line, self._vm.agent, milestone, self._reports.warn)
        except TimeoutError:
            so_far = ", ".join(reached) or "nothing"
            await self._give_up(
                f"the desktop was not ready within {limit:.0f} s; of the guest there was: {so_far}",
                "; a slow node needs a longer --ready-timeout",
            )
            return False
        else:
            return await self._finish(line, milestone)
        finally:
            mending.cancel()

    async def _finish(self, line: ReadyLine, milestone: Callable[[str], None]) -> bool:
        """Of a desktop that is ready. Whether it is used from now on."""
        if self._plan.freeze and self._plan.logon_hook and not await self._logged_on(line, milestone):
            return False
        # Last: a guest may make another one until it is ready, and after a warm start when the frozen one has lapsed.
        if self._plan.shows_desktop:
            await self._tell_certificate()
        if self._plan.freeze:
            await self._freeze()
        else:
            self._reports.tell(EventKind.READY)
        return not self._plan.freeze

    async def _give_up(self, what: str, more: str = "") -> None:
        with suppress(Exception):
            await self._vm.screenshot(SESSION / shared_files.SCREEN)
        self._reports.tell(EventKind.NOT_READY, what, f"look at console.png and logs/serial.log{more}")
        await self._vm.stop(0)

    async def _mend_stall(self) -> None:
        """While a guest boots in emulation."""
        if self._plan.accel != "tcg" or self._plan.goes_on:
            return
        await stall.mend_once(self._vm.unended_interrupts, self._vm.reset)
        self._reports.warn(stall.TOLD)
        if self._plan.keys_at_boot:
            await self._vm.press_keys()

    async def _logged_on(self, line: ReadyLine, milestone: Callable[[str], None]) -> bool:
        """Have the account logged on once. Whether the guest is fit to be frozen after that."""
        try:
            await first_logon.once(self._plan, line, self._vm.agent, milestone, self._reports.warn)
            milestone("logon")
        except TimeoutError:
            await self._give_up("the account's first log-on, or the guest's new start for it, did not end")
            return False
        except (AgentError, OSError) as error:
            self._reports.warn(
                f"each session's first log-on makes the account's profile, as none could be made here: {error}"
            )
        return True

    async def _freeze(self) -> None:
        """Wait until the guest has come to rest, freeze it, and end."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_SETTLE_SECONDS):
                await self._vm.idle(_IDLE_SHARE, _IDLE_SECONDS)
        try:
            await self._vm.freeze()
        except (MachineError, OSError) as error:
            self._reports.tell(
                EventKind.BROKE, f"the machine could not be frozen: {error}", "the session's logs/qemu.log has more"
            )
        else:
            self._reports.tell(EventKind.MILESTONE, "frozen")
        await self._vm.stop(0)

    async def _tell_certificate(self) -> None:
        """Nobody stands between us and the guest in here: what it shows now is what clients are to expect."""
        address, port = network.rdp_address(self._plan.network)
        for attempt in range(_CERTIFICATE_TRIES):
            try:
                shown = await rdp_probe.certificate(address, port)
            except (OSError, EOFError) as error:
                if attempt + 1 == _CERTIFICATE_TRIES:
                    what = "the guest's RDP server shows no certificate that clients could be told to expect"
                    self._reports.warn(f"{what}: {error}")
                await asyncio.sleep(_CERTIFICATE_PAUSE)
            else:
                self._reports.tell(EventKind.CERTIFICATE, fingerprint(shown))
                return
