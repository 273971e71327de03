"""The keeper: PID 1 of the session's namespaces. Brings all of it up, watches it, and takes it down.

It talks to the supervisor over one socketpair and dies with it; everything in here dies with the keeper.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from contextlib import AsyncExitStack, suppress
from pathlib import Path

from ..base import core_dumps, logs, priority, process
from ..wire import packets, shared_files
from ..wire.keeper import EVENTS, ORDERS, Event, EventKind, Stop
from ..wire.plan import PLANS, Plan
from .builder import Builder
from .init import root
from .orders import Orders
from .reports import Reports
from .services.native_service import NativeService
from .session_stack import SessionStack
from .vm import adoption
from .vm.migration import MachineError

log = logging.getLogger(__name__)

_MAX_DESCRIPTORS = 20  # a guess: a plan comes with some ten sockets and pipes, and three pieces of memory
_LAST_WORDS_SECONDS = 5.0  # the pages have one of them (outside/access/gateway_link.py)


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


async def _live(wire: socket.socket, builder: Builder) -> None:
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGCHLD, _reap_orphans)
    for number in process.END_SIGNALS:
        # The supervisor alone decides; a signal that a whole process group got must not cut the guest off.
        loop.add_signal_handler(number, lambda: None)
    received = await _receive_plan(wire)
    if received is None:
        return
    plan, sockets = received
    if plan.encrypted:
        core_dumps.leave_none()
    if plan.background:
        priority.let_children_give_way()
    reports = Reports(wire)
    native = NativeService(reports.warn)
    orders = Orders(
        wire,
        reports,
        native.serve_with,
        plan.notice_hook,
        plan.suspend_hook,
        acceptance=plan.acceptance,
        job_hook=plan.batch.hook if plan.batch else (),
        job_facts=adoption.facts(plan),
    )
    named = dict(zip(plan.connectors, sockets, strict=True))
    session = SessionStack(plan, named, reports, orders, native)
    supervisor = asyncio.create_task(orders.listen())
    async with AsyncExitStack() as outer_stack:
        try:
            _log_to(Path(plan.folder) / shared_files.KEEPER_LOG)
            root.move_into(plan, named)
            await session.keep(builder, outer_stack)
        except MachineError as error:
            reports.tell(EventKind.BROKE, str(error), "the session's logs/qemu.log has more")
        except root.CoveredProc as error:
            reports.tell(EventKind.BROKE, f"the session could not be set up: {error.strerror}")
        except Exception as error:  # the last one who can tell
            log.exception("the keeper failed")
            hint = "the session's logs/keeper.log has more"
            reports.tell(EventKind.BROKE, f"the session could not be set up: {error}", hint)
        # The supervisor ends us as soon as the pages have shown how it ended.
        await asyncio.wait([supervisor], timeout=_LAST_WORDS_SECONDS)


async def _receive_plan(wire: socket.socket) -> tuple[Plan, list[int]] | None:
    """The plan with its descriptors; None when the supervisor changed its mind: it is gone, or orders us to end."""
    while True:
        data, descriptors = await _received(wire)
        order = ORDERS.unpack_or_none(data)
        if not data or isinstance(order, Stop):
            return None
        if order is None:  # any other is for a machine, and there is none yet
            return PLANS.unpack(data), descriptors


async def _received(wire: socket.socket) -> tuple[bytes, list[int]]:
    """The next message; an empty one from a supervisor that is gone."""
    readable = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(wire, readable.set)
    await readable.wait()
    loop.remove_reader(wire)
    try:
        data, descriptors, _, _ = socket.recv_fds(wire, packets.MAX_MESSAGE, _MAX_DESCRIPTORS)
    except ConnectionError:
        # It went without reading our first word: a refusal for another reason.
        return b"", []
    return data, descriptors


def _log_to(path: Path) -> None:
    """From the moment there is a session folder, what we and our tools print goes there."""
    log_file = os.open(path, os.O_WRONLY | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(log_file, stream)
    os.close(log_file)


def _reap_orphans() -> None:
    """PID 1's duty: bury what a dead helper left, but leave our own children to whoever waits for them."""
    while True:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if ended is None or _is_ours(ended.si_pid):
            return
        with suppress(ChildProcessError):
            os.waitpid(ended.si_pid, os.WNOHANG)


def _is_ours(pid: int) -> bool:
    """Whether we started it: asyncio holds a watcher for each such child."""
    return pid in process.started
