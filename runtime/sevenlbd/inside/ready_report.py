"""Tells when the desktop is ready, and what a client will see; and what is done when it is not, or is to be frozen."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from ..wire import shared_files
from ..wire.keeper import EventKind
from ..wire.plan import Plan
from ..wire.tls import fingerprint
from .init.root import SESSION
from .net import network
from .reports import Reports
from .vm import machine, rdp_probe, readiness, stall
from .vm.migration import MachineError
from .vm.ready_line import ReadyLine

# A guest that is to be frozen first does what it does after its boot; one that never rests is frozen all the same.
_SETTLE_SECONDS, _IDLE_SECONDS, _IDLE_SHARE = 180.0, 5.0, 0.6


class ReadyReport:
    """Of one machine, which is on its way."""

    def __init__(self, plan: Plan, vm: machine.Machine, reports: Reports) -> None:
        self._plan = plan
        self._vm = vm
        self._reports = reports

    async def report(self, line: ReadyLine, served: asyncio.Event) -> None:
        """Tell when the desktop is ready; when it is not in time, tell that and end the machine."""
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
                await self._tell_certificate()
            if self._plan.freeze:
                await self._freeze()
            else:
                self._reports.tell(EventKind.READY)
        except TimeoutError:
            with suppress(Exception):
                await self._vm.screenshot(SESSION / shared_files.SCREEN)
            so_far = ", ".join(reached) or "nothing"
            self._reports.tell(
                EventKind.NOT_READY,
                f"the desktop was not ready within {limit:.0f} s; of the guest there was: {so_far}",
                "look at console.png and logs/serial.log; a slow node needs a longer --ready-timeout",
            )
            await self._vm.stop(0)
        finally:
            mending.cancel()

    async def _mend_stall(self) -> None:
        """While a guest boots in emulation."""
        if self._plan.accel != "tcg" or self._plan.goes_on:
            return
        await stall.mend_once(self._vm.unended_interrupts, self._vm.reset)
        self._reports.warn(stall.TOLD)
        if self._plan.keys_at_boot:
            await self._vm.press_keys()

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
        if self._plan.warm and self._plan.warm.certificate:
            self._reports.tell(EventKind.CERTIFICATE, self._plan.warm.certificate)
            return
        address, port = network.rdp_address(self._plan.network)
        try:
            shown = await rdp_probe.certificate(address, port)
        except (OSError, EOFError) as error:
            self._reports.warn(
                f"the guest's RDP server shows no certificate that clients could be told to expect: {error}"
            )
            return
        self._reports.tell(EventKind.CERTIFICATE, fingerprint(shown))
