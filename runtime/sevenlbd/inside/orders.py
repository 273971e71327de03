"""The supervisor's orders: read from the first moment, obeyed as soon as there is a machine. Its end is ours."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress

from ..wire import packets
from ..wire.keeper import (
    FLUSH_SECONDS,
    ORDERS,
    EventKind,
    GoOn,
    GuestAnswer,
    GuestCommand,
    Hold,
    NewCertificates,
    Notice,
    Restored,
    RunJob,
    ShutDown,
    Stop,
)
from .reports import Reports
from .vm import machine
from .vm.agent import AgentError
from .vm.migration import MachineError

_NOTICE_SECONDS = 60.0  # for the image's own program in the guest to show it
_SILENT_SECONDS = 120.0  # a guess: a guest whose program takes all of its memory may answer nobody for as long
_LAST_NOTICE_SECONDS = 4.0  # docs/theory.md: they are taken from the guest's time to shut down
_LAST_NOTICE_PART = 0.1  # a guess: of plenty of time, what a busy guest may need of it


class Orders:
    """The way in for orders. `serve_with` gets new certificates at once."""

    def __init__(
        self,
        wire: socket.socket,
        reports: Reports,
        serve_with: Callable[[dict[str, str]], None],
        notice_hook: Sequence[str],
        suspend_hook: Sequence[str],
        *,
        acceptance: bool = False,
        job_hook: Sequence[str] = (),
        job_facts: str = "",
    ) -> None:
        """`job_facts` are lines for the `job_hook`: what opens the shares."""
        self._wire = wire
        self._reports = reports
        self._serve_with = serve_with
        self._notice_hook = notice_hook
        self._suspend_hook = suspend_hook
        self._acceptance = acceptance
        self._job_hook = job_hook
        self._job_facts = job_facts
        self.restored = asyncio.Event()
        """The files of a machine that goes on are whole."""
        self.told_to_end = asyncio.Event()
        """There may be no machine yet that would hear it."""
        self._waiting: asyncio.Queue[Stop | Notice | Hold | GoOn | GuestCommand | ShutDown | RunJob] = asyncio.Queue()

    async def listen(self) -> None:
        """Read the supervisor's orders. Its end is ours."""
        loop = asyncio.get_running_loop()
        with suppress(ConnectionError):
            while data := await loop.sock_recv(self._wire, packets.MAX_MESSAGE):
                match ORDERS.unpack(data):
                    case Stop() | Notice() | Hold() | GoOn() as order:
                        self._waiting.put_nowait(order)
                        if isinstance(order, Stop):
                            self.told_to_end.set()
                    case GuestCommand() | ShutDown() as order if self._acceptance:
                        self._waiting.put_nowait(order)
                    case RunJob() as order if self._job_hook:
                        self._waiting.put_nowait(order)
                    case Restored():
                        self.restored.set()
                    case NewCertificates(certificates):
                        self._serve_with(certificates)
        os._exit(0)

    async def obey(self, vm: machine.Machine) -> None:
        """Do as the supervisor orders, from now on. A second, more urgent order to stop cuts the first one short."""
        climbing: asyncio.Task[None] | None = None
        holding: asyncio.Task[None] | None = None
        going_on: asyncio.Task[None] | None = None
        async with asyncio.TaskGroup() as under_way:
            while True:
                match await self._waiting.get():
                    case Notice(text):
                        under_way.create_task(self._show_user(vm, text, _NOTICE_SECONDS))
                    case Hold(live):
                        if going_on:
                            await asyncio.wait([going_on])  # it empties the file that this one fills
                        holding = under_way.create_task(self._hold(vm, live=live))
                    case GoOn():
                        await _given_up(holding)
                        going_on = under_way.create_task(self._go_on(vm))
                    case GuestCommand() as order:
                        under_way.create_task(self._run(vm, order))
                    case RunJob() as order:
                        under_way.create_task(self._run_job(vm, order))
                    case ShutDown(by):
                        under_way.create_task(self._ask_to_shut_down(vm, by))
                    case Stop() as order:
                        await _given_up(holding)
                        if climbing:
                            climbing.cancel()
                        climbing = under_way.create_task(self._stop(vm, order))

    async def _stop(self, vm: machine.Machine, order: Stop) -> None:
        """Climb the stop ladder. What it takes to tell the user is taken from the guest's time."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        if order.notice and order.grace > 0:
            seconds = max(_LAST_NOTICE_SECONDS, order.grace * _LAST_NOTICE_PART)
            await self._show_user(vm, order.notice, min(seconds, order.grace / 2))
        await vm.stop(max(order.grace - (loop.time() - began), 0.0))

    async def _hold(self, vm: machine.Machine, *, live: bool) -> None:
        """Have the guest write what it holds, as far as it does; then the machine stands still, or for a moment."""
        await self._flush(vm)
        still = 0.0
        try:
            if live:
                still = await vm.save_running()
            else:
                await vm.hold()
        except (MachineError, OSError) as error:
            self._reports.tell(EventKind.NOT_HELD, f"the machine's state cannot be written: {error}")
        else:
            self._reports.tell(EventKind.HELD, f"it stood still for {still:.2f} s" if live else "")

    async def _flush(self, vm: machine.Machine) -> None:
        if not self._suspend_hook:
            return
        try:
            async with asyncio.timeout(FLUSH_SECONDS):
                await vm.agent.run(self._suspend_hook, "", FLUSH_SECONDS)
        except (AgentError, OSError) as error:
            why = str(error) or "it took too long"
            self._reports.warn(f"the guest could not be asked to write what it holds for its shares: {why}")
        else:
            self._reports.tell(EventKind.MILESTONE, "flushed")

    async def _go_on(self, vm: machine.Machine) -> None:
        """The guest has missed some time; whether it can be told is not what it stands still for."""
        try:
            await vm.go_on()
            await vm.agent.set_clock()
        except (MachineError, AgentError, OSError) as error:
            self._reports.warn(f"the guest goes on, and not all is as it was: {error}")

    async def _ask_to_shut_down(self, vm: machine.Machine, by: str) -> None:
        if by == "button":
            await vm.press_power_button()
            return
        with suppress(AgentError, OSError):
            await vm.agent.shutdown()

    async def _run(self, vm: machine.Machine, order: GuestCommand) -> None:
        try:
            done = await vm.agent.execute(order.command, order.given, order.seconds)
            answer = GuestAnswer(order.number, done.code, done.out, done.err)
        except (AgentError, OSError) as error:
            answer = GuestAnswer(order.number, failure=str(error))
        self._reports.answer(answer)

    async def _run_job(self, vm: machine.Machine, order: RunJob) -> None:
        """Its streams and its end go over the share; this tells what keeps it from that."""
        facts = f"{self._job_facts}job={order.folder}\n"
        try:
            done = await vm.agent.follow(self._job_hook, facts.encode(), _SILENT_SECONDS)
            answer = GuestAnswer(order.number, done.code, done.out, done.err)
        except (AgentError, OSError) as error:
            answer = GuestAnswer(order.number, failure=str(error))
        self._reports.answer(answer)

    async def _show_user(self, vm: machine.Machine, text: str, seconds: float) -> None:
        """Show the desktop's user a text, if the image has a way to."""
        if not self._notice_hook:
            return
        try:
            async with asyncio.timeout(seconds):
                await vm.agent.run(self._notice_hook, f"{text}\n", seconds)
        except (AgentError, OSError) as error:
            self._reports.warn(f"the desktop's user could not be told in the guest: {str(error) or 'it took too long'}")
        else:
            self._reports.tell(EventKind.MILESTONE, "notice")


async def _given_up(holding: asyncio.Task[None] | None) -> None:
    """One that still waits for the guest, or for the disk, must not stop the machine after what comes next."""
    if holding:
        holding.cancel()
        await asyncio.wait([holding])
