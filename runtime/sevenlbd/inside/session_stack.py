"""One session inside the wall: what stands on what, on one exit stack, from the machine to its end."""

from __future__ import annotations

import asyncio
import os
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import replace

from ..base.process import python
from ..wire import shared_files
from ..wire.keeper import GUEST_SHUT_DOWN, EventKind
from ..wire.plan import PLANS, Plan
from . import worker_report
from .builder import Builder
from .init.root import SESSION
from .net import network, router, ways_out
from .orders import Orders
from .ready_report import ReadyReport
from .reports import Reports
from .services import helpers, native_rdp, project_service, samba, trimming
from .services.native_service import NativeService
from .vm import machine, qemu, tpm
from .vm.migration import MachineError
from .vm.ready_line import ReadyLine

_HELD = tuple(map(str, shared_files.IN_MEMORY))
_NOT_THE_GATEWAYS = (shared_files.SERIAL_LINE, ways_out.CONNECTOR, *_HELD)
_HEAD_START = 1.5  # for a warm guest; a cold one takes far longer, and its page comes first
_ENDS = {
    "guest-shutdown": GUEST_SHUT_DOWN,
    "guest-reset": "the guest reset itself",
    "guest-panic": "the guest's system crashed",
    "host-qmp-quit": "the machine was switched off",
    "host-signal": "QEMU was told to end by a signal",
}


class SessionStack:
    """The parts of a session, and how they hold together. `sockets` are the plan's connectors, by name."""

    def __init__(
        self, plan: Plan, sockets: dict[str, int], reports: Reports, orders: Orders, native: NativeService
    ) -> None:
        self._plan = plan
        self._sockets = sockets
        self._reports = reports
        self._orders = orders
        self._native = native

    async def keep(self, builder: Builder, outer_stack: AsyncExitStack) -> None:
        """The order of a session. Returns when the session is over, its end told.

        The machine starts while the network and the servers' configuration are still being built: firmware takes
        longer than that. One that goes on from a file starts after them, for its files are filled meanwhile. The
        gateway stands on the `outer_stack`: it outlives the rest, and tells how it ended.
        """
        async with AsyncExitStack() as session_stack:
            tap = self._begin(session_stack, builder)
            line, served = ReadyLine(), asyncio.Event()
            if self._plan.resumed:
                await self._serve(session_stack, builder, line)
                served.set()
                await self._orders.restored.wait()
            vm = await self._begun(session_stack, builder, tap)
            ready = asyncio.create_task(ReadyReport(self._plan, vm, self._reports).report(line, served))
            session_stack.callback(ready.cancel)
            joining = asyncio.create_task(self._join(vm, ready))
            session_stack.callback(joining.cancel)
            if not self._plan.resumed:
                await self._serve(session_stack, builder, line)
                served.set()
            if self._plan.goes_on and self._plan.shows_desktop:
                # Whoever comes to the page meanwhile waits at its socket; a guest that is warm has all of the CPU.
                ending = asyncio.create_task(self._orders.told_to_end.wait())
                session_stack.callback(ending.cancel)
                await asyncio.wait([ready, ending], timeout=_HEAD_START, return_when=asyncio.FIRST_COMPLETED)
            if self._plan.shows_desktop:
                await outer_stack.enter_async_context(self._gateway())
            if "rdp-tls" in self._sockets:
                await session_stack.enter_async_context(self._native.running())
            await self._attend(vm)

    def _begin(self, session_stack: AsyncExitStack, builder: Builder) -> int | None:
        """Have the builder work. Returns the guest's link."""
        plan = self._plan
        tap = session_stack.enter_context(network.tap_descriptor(plan.network))
        # Without what it has no use for.
        project = replace(plan.project, credentials="") if plan.project else None
        less = replace(plan, certificates={}, project=project, join=None, disk_key="", layer_keys={})
        builder.begin(PLANS.pack(less))
        native_rdp.write(plan.certificates)
        return tap

    async def _begun(self, session_stack: AsyncExitStack, builder: Builder, tap: int | None) -> machine.Machine:
        """The machine, on its way."""
        await session_stack.enter_async_context(
            tpm.attached(self._plan.guest, SESSION / shared_files.SWTPM_LOG, self._reports.warn)
        )
        if tap is None and not self._plan.resumed:
            # QEMU's own network listens on our loopback as soon as it starts.
            await _gone(builder.pid)
        vm = await self._machine(session_stack, tap)
        self._reports.tell(EventKind.BOOTING)
        if self._plan.goes_on:
            self._reports.tell(EventKind.MILESTONE, "thawed")
        return vm

    async def _serve(self, session_stack: AsyncExitStack, builder: Builder, line: ReadyLine) -> None:
        """All that the guest talks to, once the builder has ended."""
        await _gone(builder.pid)
        builder.finish()
        plan = self._plan
        account = asyncio.create_task(samba.add_account(plan))
        await session_stack.enter_async_context(line.listening(plan.network))
        if plan.egress and (wire := self._sockets.get(ways_out.CONNECTOR)):
            forwards = ways_out.to_open(plan.egress, plan.project)
            ways_out.hand_over(wire, forwards, network.host_address(plan.network), self._reports.warn)
        if plan.network == "tap" and plan.egress and plan.egress.has_ipv6:
            await session_stack.enter_async_context(router.advertised(network.interface(plan)))
        if plan.network == "tap" or plan.egress:
            dnsmasq = network.dnsmasq()
            await session_stack.enter_async_context(
                helpers.kept_running("dnsmasq", dnsmasq, SESSION / shared_files.DNSMASQ_LOG, self._reports.warn)
            )
        if plan.project:
            await session_stack.enter_async_context(
                project_service.joined(
                    plan.project, lambda text: self._reports.tell(EventKind.PROJECT, text), self._reports.warn
                )
            )
        await account
        smbd_out = SESSION / shared_files.SMBD_OUT
        await session_stack.enter_async_context(
            helpers.kept_running("smbd", samba.smbd(plan), smbd_out, self._reports.warn)
        )

    async def _join(self, vm: machine.Machine, ready: asyncio.Task[bool]) -> None:
        """Of a guest that joins a pool: for as long as it is there."""
        if self._plan.join and await ready:
            await worker_report.kept(self._plan.join, vm.agent, self._reports)

    async def _machine(self, session_stack: AsyncExitStack, tap: int | None) -> machine.Machine:
        """The machine, from its warm state if it has one that QEMU takes; else from a cold boot."""
        if self._plan.warm:
            try:
                return await session_stack.enter_async_context(self._launched(tap))
            except MachineError as error:
                self._reports.warn(f"the image's warm state cannot be used, so the guest boots: {error}")
            # Nothing of the guest has run, so nothing is written yet: the overlay is as good as new.
            self._plan = replace(self._plan, warm=None)
            if self._plan.encrypted:
                machine.empty_memory(self._plan.guest.memory)
        return await session_stack.enter_async_context(self._launched(tap))

    def _launched(self, tap: int | None) -> AbstractAsyncContextManager[machine.Machine]:
        held = [self._sockets[name] for name in _HELD if name in self._sockets]
        serial = self._sockets[shared_files.SERIAL_LINE]
        return machine.launched(self._plan, serial, tap, held, self._reports.warn)

    def _gateway(self) -> AbstractAsyncContextManager[helpers.Kept]:
        host, port = network.rdp_address(self._plan.network)
        inherited = {name: fd for name, fd in self._sockets.items() if name not in _NOT_THE_GATEWAYS}
        words = [f"{name}={fd}" for name, fd in inherited.items()]
        words += [f"rdp-target={host}:{port}"]
        words += [f"vnc-target={qemu.VNC}"] if self._plan.console else []
        words += ["web-tls"] if self._plan.web_tls else []
        command = python("sevenlbd.inside.gateway", *words)
        log_file = SESSION / shared_files.GATEWAY_LOG
        return helpers.kept_running("gateway", command, log_file, self._reports.warn, pass_fds=list(inherited.values()))

    async def _attend(self, vm: machine.Machine) -> None:
        """Until the machine's end: wait for the order to stop."""
        small_logs = asyncio.create_task(trimming.keep_small(SESSION / shared_files.LOGS))
        stop = asyncio.create_task(self._orders.obey(vm))
        keys = asyncio.create_task(vm.press_keys()) if self._plan.keys_at_boot else None
        try:
            reason = await vm.watch(
                lambda text: self._reports.tell(EventKind.PAUSED, text),
                lambda: self._reports.tell(EventKind.RESUMED, "there is room again: the guest goes on"),
            )
            self._reports.tell(EventKind.ENDED, _spell_end(reason))
        except MachineError as error:
            self._reports.tell(EventKind.BROKE, str(error), "the session's logs/qemu.log has more")
        finally:
            for task in filter(None, (stop, small_logs, keys)):
                task.cancel()


async def _gone(pid: int) -> None:
    """Wait until a child has ended, without burying it and without standing in anybody's way (pidfd_open(2))."""
    watched = os.pidfd_open(pid)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(watched, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(watched)
        os.close(watched)


def _spell_end(reason: str) -> str:
    return _ENDS.get(reason, f"the machine ended: {reason}")
