"""The keeper: PID 1 of the session's namespaces. Brings all of it up, watches it, and takes it down.

It talks to the supervisor over one socketpair and dies with it; everything in here dies with the keeper.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from dataclasses import replace
from pathlib import Path

from ..base import logs, process
from ..base.process import python
from ..wire import packets, shared_files
from ..wire.codec import MAX_TEXT
from ..wire.keeper import EVENTS, GUEST_SHUT_DOWN, ORDERS, Event, EventKind, NewCertificates, Notice, Stop
from ..wire.plan import PLANS, Plan
from ..wire.tls import fingerprint
from .builder import Builder
from .init import root
from .init.root import SESSION
from .net import network, router, ways_out
from .services import helpers, native_rdp, samba, trimming
from .vm import machine, qemu, rdp_probe, readiness, stall, tpm
from .vm.agent import AgentError
from .vm.migration import MachineError
from .vm.ready_line import ReadyLine

log = logging.getLogger(__name__)

_MAX_DESCRIPTORS = 16  # a guess: a plan comes with some ten sockets, pipes and files
_NOT_THE_GATEWAYS = (shared_files.SERIAL_LINE, ways_out.CONNECTOR)
_LAST_WORDS_SECONDS = 5.0  # the pages have one of them (outside/access/gateway_link.py)
_NOTICE_SECONDS = 60.0  # for the image's own program in the guest to show it
_LAST_NOTICE_SECONDS = 4.0  # docs/theory.md: they are taken from the guest's time to shut down
_HEAD_START = 1.5  # for a warm guest; a cold one takes far longer, and its page comes first
# A guest that is to be frozen first does what it does after its boot; one that never rests is frozen all the same.
_SETTLE_SECONDS, _IDLE_SECONDS, _IDLE_SHARE = 180.0, 5.0, 0.6


class Keeper:
    """What the parts of a session share: the plan, the wire, and whether the end was asked for."""

    def __init__(self, plan: Plan, wire: socket.socket, sockets: list[int]) -> None:
        self._plan = plan
        self._wire = wire
        self._sockets = dict(zip(plan.connectors, sockets, strict=True))
        self._orders: asyncio.Queue[Stop | Notice] = asyncio.Queue()
        self._stunnel: helpers.Kept | None = None

    def tell(self, kind: str, text: str = "", hint: str = "") -> None:
        """An event for the supervisor. Without one there is nobody left to tell."""
        with suppress(OSError):
            self._wire.send(EVENTS.pack(Event(kind, text[:MAX_TEXT], hint)))

    def warn(self, text: str) -> None:
        """A warning for the supervisor, and for our own log."""
        log.warning("%s", text)
        self.tell(EventKind.WARNING, text)

    async def keep(self, builder: Builder, outer_stack: AsyncExitStack) -> None:
        """The order of a session. Returns when the session is over, its end told.

        The machine starts while the network and the servers' configuration are still being built: firmware takes
        longer than that. The gateway stands on the `outer_stack`: it outlives the rest, and tells how it ended.
        """
        plan = self._plan
        async with AsyncExitStack() as session_stack:
            tap = session_stack.enter_context(network.tap_descriptor(plan.network))
            # Without what it has no use for.
            builder.begin(PLANS.pack(replace(plan, certificates={})))
            native_rdp.write(plan.certificates)
            await session_stack.enter_async_context(
                tpm.attached(plan.guest, SESSION / shared_files.SWTPM_LOG, self.warn)
            )
            if tap is None:
                # QEMU's own network listens on our loopback as soon as it starts.
                await _gone(builder.pid)
            vm = await self._machine(session_stack, tap)
            self.tell(EventKind.BOOTING)
            if self._plan.warm:
                self.tell(EventKind.MILESTONE, "thawed")
            line, served = ReadyLine(), asyncio.Event()
            ready = asyncio.create_task(self._report_ready(vm, line, served))
            session_stack.callback(ready.cancel)
            await _gone(builder.pid)
            builder.finish()
            account = asyncio.create_task(samba.add_account(plan))
            await session_stack.enter_async_context(line.listening(plan.network))
            if plan.egress and (wire := self._sockets.get(ways_out.CONNECTOR)):
                ways_out.hand_over(wire, plan.egress, network.host_address(plan.network), self.warn)
            if plan.network == "tap" and plan.egress and plan.egress.has_ipv6:
                await session_stack.enter_async_context(router.advertised(network.interface(plan)))
            if plan.network == "tap" or plan.egress:
                dnsmasq = network.dnsmasq()
                await session_stack.enter_async_context(
                    helpers.kept_running("dnsmasq", dnsmasq, SESSION / shared_files.DNSMASQ_LOG, self.warn)
                )
            await account
            smbd_out = SESSION / shared_files.SMBD_OUT
            await session_stack.enter_async_context(helpers.kept_running("smbd", samba.smbd(plan), smbd_out, self.warn))
            served.set()
            if self._plan.warm:
                # Whoever comes to the page meanwhile waits at its socket; a guest that is warm has all of the CPU.
                await asyncio.wait([ready], timeout=_HEAD_START)
            await outer_stack.enter_async_context(self._gateway())
            if "rdp-tls" in self._sockets:
                knocking = session_stack.enter_context(native_rdp.listening())
                self._stunnel = await session_stack.enter_async_context(self._native_tls(knocking.fileno()))
            await self._attend(vm)

    async def _machine(self, session_stack: AsyncExitStack, tap: int | None) -> machine.Machine:
        """The machine, from its warm state if it has one that QEMU takes; else from a cold boot."""
        if self._plan.warm:
            try:
                return await session_stack.enter_async_context(self._launched(tap))
            except MachineError as error:
                self.warn(f"the image's warm state cannot be used, so the guest boots: {error}")
            # Nothing of the guest has run, so nothing is written yet: the overlay is as good as new.
            self._plan = replace(self._plan, warm=None)
        return await session_stack.enter_async_context(self._launched(tap))

    def _launched(self, tap: int | None) -> AbstractAsyncContextManager[machine.Machine]:
        return machine.launched(self._plan, self._sockets[shared_files.SERIAL_LINE], tap, self.warn)

    def _gateway(self) -> AbstractAsyncContextManager[helpers.Kept]:
        host, port = network.rdp_address(self._plan.network)
        inherited = {name: fd for name, fd in self._sockets.items() if name not in _NOT_THE_GATEWAYS}
        words = [f"{name}={fd}" for name, fd in inherited.items()]
        words += [f"rdp-target={host}:{port}"]
        words += [f"vnc-target={qemu.VNC}"] if self._plan.console else []
        words += ["web-tls"] if self._plan.web_tls else []
        command = python("sevenlbd.inside.gateway", *words)
        log_file = SESSION / shared_files.GATEWAY_LOG
        return helpers.kept_running("gateway", command, log_file, self.warn, pass_fds=list(inherited.values()))

    def _native_tls(self, descriptor: int) -> AbstractAsyncContextManager[helpers.Kept]:
        command, log_file = native_rdp.stunnel(descriptor), SESSION / shared_files.STUNNEL_LOG
        return helpers.kept_running("stunnel", command, log_file, self.warn, pass_fds=[descriptor])

    async def _attend(self, vm: machine.Machine) -> None:
        """Until the machine's end: wait for the order to stop."""
        small_logs = asyncio.create_task(trimming.keep_small(SESSION / shared_files.LOGS))
        stop = asyncio.create_task(self._obey(vm))
        keys = asyncio.create_task(vm.press_keys()) if self._plan.keys_at_boot else None
        try:
            reason = await vm.watch(
                lambda text: self.tell(EventKind.PAUSED, text),
                lambda: self.tell(EventKind.RESUMED, "there is room again: the guest goes on"),
            )
            self.tell(EventKind.ENDED, _spell_end(reason))
        except MachineError as error:
            self.tell(EventKind.BROKE, str(error), "the session's logs/qemu.log has more")
        finally:
            for task in filter(None, (stop, small_logs, keys)):
                task.cancel()

    async def _report_ready(self, vm: machine.Machine, line: ReadyLine, served: asyncio.Event) -> None:
        """Tell when the desktop is ready; when it is not in time, tell that and end the machine."""
        reached: list[str] = []
        mending = asyncio.create_task(self._mend_stall(vm))

        def milestone(name: str) -> None:
            mending.cancel()
            reached.append(name)
            self.tell(EventKind.MILESTONE, name)

        limit = self._plan.ready_timeout
        try:
            async with asyncio.timeout(limit):
                if self._plan.warm:
                    await readiness.wait_until_thawed(self._plan, served, vm.agent, milestone, self.warn)
                else:
                    await readiness.wait_until_ready(self._plan, line, vm.agent, milestone, self.warn)
                await self._tell_certificate()
            if self._plan.freeze:
                await self._freeze(vm)
            else:
                self.tell(EventKind.READY)
        except TimeoutError:
            with suppress(Exception):
                await vm.screenshot(SESSION / shared_files.SCREEN)
            so_far = ", ".join(reached) or "nothing"
            self.tell(
                EventKind.NOT_READY,
                f"the desktop was not ready within {limit:.0f} s; of the guest there was: {so_far}",
                "look at console.png and logs/serial.log; a slow node needs a longer --ready-timeout",
            )
            await vm.stop(0)
        finally:
            mending.cancel()

    async def _mend_stall(self, vm: machine.Machine) -> None:
        """While a guest boots in emulation."""
        if self._plan.accel != "tcg" or self._plan.warm:
            return
        await stall.mend_once(vm.unended_interrupts, vm.reset)
        self.warn(stall.TOLD)
        if self._plan.keys_at_boot:
            await vm.press_keys()

    async def _freeze(self, vm: machine.Machine) -> None:
        """Wait until the guest has come to rest, freeze it, and end."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_SETTLE_SECONDS):
                await vm.idle(_IDLE_SHARE, _IDLE_SECONDS)
        try:
            await vm.freeze()
        except (MachineError, OSError) as error:
            self.tell(
                EventKind.BROKE, f"the machine could not be frozen: {error}", "the session's logs/qemu.log has more"
            )
        else:
            self.tell(EventKind.MILESTONE, "frozen")
        await vm.stop(0)

    async def _tell_certificate(self) -> None:
        """Nobody stands between us and the guest in here: what it shows now is what clients are to expect."""
        if self._plan.warm and self._plan.warm.certificate:
            self.tell(EventKind.CERTIFICATE, self._plan.warm.certificate)
            return
        address, port = network.rdp_address(self._plan.network)
        try:
            shown = await rdp_probe.certificate(address, port)
        except (OSError, EOFError) as error:
            self.warn(f"the guest's RDP server shows no certificate that clients could be told to expect: {error}")
            return
        self.tell(EventKind.CERTIFICATE, fingerprint(shown))

    async def listen(self) -> None:
        """Read the supervisor's orders. Its end is ours."""
        loop = asyncio.get_running_loop()
        with suppress(ConnectionError):
            while data := await loop.sock_recv(self._wire, packets.MAX_MESSAGE):
                match ORDERS.unpack(data):
                    case Stop() | Notice() as order:
                        self._orders.put_nowait(order)
                    case NewCertificates(certificates):
                        self._serve_with(certificates)
        os._exit(0)

    def _serve_with(self, certificates: dict[str, str]) -> None:
        try:
            native_rdp.write(certificates)
        except OSError as error:
            self.warn(f"the new certificates cannot be served with: {error.strerror}")
        if self._stunnel:
            self._stunnel.replace()

    async def _obey(self, vm: machine.Machine) -> None:
        """Do as the supervisor orders, from now on. A second, more urgent order to stop cuts the first one short."""
        climbing: asyncio.Task[None] | None = None
        async with asyncio.TaskGroup() as under_way:
            while True:
                match await self._orders.get():
                    case Notice(text):
                        under_way.create_task(self._show_user(vm, text, _NOTICE_SECONDS))
                    case Stop() as order:
                        if climbing:
                            climbing.cancel()
                        climbing = under_way.create_task(self._stop(vm, order))

    async def _stop(self, vm: machine.Machine, order: Stop) -> None:
        """Climb the stop ladder. What it takes to tell the user is taken from the guest's time."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        if order.notice and order.grace > 0:
            await self._show_user(vm, order.notice, min(_LAST_NOTICE_SECONDS, order.grace / 2))
        await vm.stop(max(order.grace - (loop.time() - began), 0.0))

    async def _show_user(self, vm: machine.Machine, text: str, seconds: float) -> None:
        """Show the desktop's user a text, if the image has a way to."""
        if not self._plan.notice_hook:
            return
        try:
            async with asyncio.timeout(seconds):
                await vm.agent.run(self._plan.notice_hook, f"{text}\n", seconds)
        except (AgentError, OSError) as error:
            self.warn(f"the desktop's user could not be told in the guest: {str(error) or 'it took too long'}")
        else:
            self.tell(EventKind.MILESTONE, "notice")


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


_ENDS = {
    "guest-shutdown": GUEST_SHUT_DOWN,
    "guest-reset": "the guest reset itself",
    "guest-panic": "the guest's system crashed",
    "host-qmp-quit": "the machine was switched off",
    "host-signal": "QEMU was told to end by a signal",
}


def _spell_end(reason: str) -> str:
    return _ENDS.get(reason, f"the machine ended: {reason}")


def _reap_orphans() -> None:
    """PID 1's duty: bury what a dead helper left, but leave our own children to whoever waits for them."""
    while True:
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if found is None or _is_ours(found.si_pid):
            return
        with suppress(ChildProcessError):
            os.waitpid(found.si_pid, os.WNOHANG)


def _is_ours(pid: int) -> bool:
    """Whether we started it: asyncio holds a watcher for each such child."""
    return pid in process.started


async def _receive_plan(wire: socket.socket) -> tuple[Plan, list[int]] | None:
    """The plan with its descriptors; None when the supervisor changed its mind."""
    readable = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(wire, readable.set)
    await readable.wait()
    loop.remove_reader(wire)
    try:
        data, descriptors, _, _ = socket.recv_fds(wire, packets.MAX_MESSAGE, _MAX_DESCRIPTORS)
    except ConnectionError:
        # It went without reading our first word: a refusal for another reason.
        return None
    return (PLANS.unpack(data), descriptors) if data else None


def _log_to(path: Path) -> None:
    """From the moment there is a session folder, what we and our tools print goes there."""
    log_file = os.open(path, os.O_WRONLY | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(log_file, stream)
    os.close(log_file)


async def _live(wire: socket.socket, builder: Builder) -> None:
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGCHLD, _reap_orphans)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        # The supervisor alone decides; a signal that a whole process group got must not cut the guest off.
        loop.add_signal_handler(number, lambda: None)
    received = await _receive_plan(wire)
    if received is None:
        return
    plan, sockets = received
    keeper = Keeper(plan, wire, sockets)
    supervisor = asyncio.create_task(keeper.listen())
    async with AsyncExitStack() as outer_stack:
        try:
            _log_to(Path(plan.folder) / shared_files.KEEPER_LOG)
            root.move_into(plan)
            await keeper.keep(builder, outer_stack)
        except MachineError as error:
            keeper.tell(EventKind.BROKE, str(error), "the session's logs/qemu.log has more")
        except Exception as error:  # the last one who can tell
            log.exception("the keeper failed")
            hint = "the session's logs/keeper.log has more"
            keeper.tell(EventKind.BROKE, f"the session could not be set up: {error}", hint)
        # The supervisor ends us as soon as the pages have shown how it ended.
        await asyncio.wait([supervisor], timeout=_LAST_WORDS_SECONDS)


def main(wire: socket.socket, builder: Builder) -> None:
    """Keep a session in the namespaces that this process is PID 1 of."""
    logs.begin(logging.DEBUG)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    logging.getLogger("qemu").setLevel(logging.WARNING)
    process.started.add(builder.pid)
    with suppress(OSError):
        wire.send(EVENTS.pack(Event(EventKind.INSIDE)))
    wire.setblocking(False)
    asyncio.run(_live(wire, builder))
