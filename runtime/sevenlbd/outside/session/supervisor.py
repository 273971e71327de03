"""The supervisor: owns a session from its folder to its end, and never touches a packet of the guest's.

What undoes itself hangs on one stack, in the order in which it is undone.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, closing, contextmanager
from dataclasses import replace
from pathlib import Path

from ...base import core_dumps, priority, process, syscalls
from ...base.errors import ExitCode, Refusal
from ...images import image_lock
from ...images.repository import leases
from ...wire import shared_files
from ...wire.keeper import Restored
from ...wire.plan import Plan
from ...wire.private_network import Project
from ...wire.state import SessionState
from ..access import access_control, connectors, tls_files
from ..access.gateway_link import GatewayLink
from ..console.display import Display
from ..folders import session_folders
from ..node import cgroup_weight
from ..presence import announcer
from ..project import client_keys
from ..saved.claims import Claim
from ..saved.messages import Read
from . import control, encrypted_start, held_memory, overlay_disk, suspending
from .audience import Audience
from .early_calls import EarlyCalls
from .first_state import first_state
from .keeper_link import KeeperLink
from .life import Session
from .preflight.prepared import Prepared

Harvest = Callable[[Path, SessionState], None]
"""Takes what an ended session leaves in its folder, before the folder goes."""


Hear = Callable[[int], bool]
"""Is asked of each signal first; whether it was for somebody else than the session."""


async def run(
    link: KeeperLink,
    prepared: Prepared,
    display: Display,
    harvest: Harvest | None = None,
    hear: Hear = lambda _number: False,
) -> ExitCode:
    """Run one session to its end, with a keeper that waits for a plan. Raises Refusal when it could not begin."""
    # Apptainer killed is a session ended: it would not come back for us.
    syscalls.signal_when_parent_dies(signal.SIGTERM)
    ways = prepared.connectors
    if ways.certificate and ways.key:
        await tls_files.check(ways.certificate, ways.key)
    if prepared.plan.encrypted:
        core_dumps.leave_none()
    if prepared.plan.background:
        priority.let_children_give_way()
        cgroup_weight.lower()
    state, early = first_state(prepared), EarlyCalls()
    with _signals(early, hear):
        async with AsyncExitStack() as session_stack:
            session_stack.enter_context(_claimed(prepared, early.warn_from_thread))
            joined = session_stack.enter_context(_in_project(prepared))
            sockets = session_stack.enter_context(connectors.tcp_sockets(ways))
            folder = session_stack.enter_context(session_folders.session_folder(prepared.where, prepared.plan.session))
            presence = session_stack.enter_context(
                announcer.announced(prepared.presence, folder, early.warn_from_thread)
            )
            gateway = session_stack.enter_context(
                closing(
                    GatewayLink(
                        early.stop_from_page, lambda: access_control.take_bundle(folder), early.suspend_from_page
                    )
                )
            )
            state.url = connectors.url(ways, connectors.port_of(sockets, "web-tcp"))
            held = session_stack.enter_context(held_memory.made(prepared.plan))
            session = Session(prepared, link, state, Audience(display, folder, gateway, presence), held)
            # From here on `status` sees it, on other nodes, too.
            session.public.show()
            early.put_through(session)
            plan = await _furnished(session_stack, prepared, session, gateway, sockets)
            whole = replace(plan, project=joined, connectors=(*sockets, *held))
            link.send_plan(whole, [*sockets.values(), *held.values()])
            if session.restoring:
                await _restored(session, session.restoring)
                session.public.is_read()
                link.send(Restored())
            await session.live()
            await gateway.farewell()
            nobody_left = await link.leave()
            session.bury()
            if harvest:
                _harvest(harvest, folder, session.state, nobody_left=nobody_left)
    display.finished(session.state)
    return session.exit_code()


async def _furnished(
    session_stack: AsyncExitStack,
    prepared: Prepared,
    session: Session,
    gateway: GatewayLink,
    sockets: dict[str, socket.socket],
) -> Plan:
    """Make all that the session needs out here. Returns the whole plan; `sockets` gets those that go in with it.

    Raises Refusal.
    """
    ways, folder, native_port = prepared.connectors, session.place, connectors.port_of(sockets, "rdp-tls")
    with session_folders.trouble_told(folder):
        shared_files.make(folder, prepared.plan)
        sockets |= session_stack.enter_context(
            connectors.unix_sockets(folder, console=ways.console, desktop=prepared.plan.shows_desktop)
        )
        overlay = await _disk(session_stack, prepared, session)
        session.saves.overlay = overlay
        access = await session_stack.enter_async_context(
            access_control.opened(
                ways, prepared.plan, prepared.login, native_port, folder, session.time_left(), gateway
            )
        )

        async def renew() -> None:
            await access.renew()
            session.change_locks(access.certificates)

        await session_stack.enter_async_context(
            control.serve(folder, session.stop, renew, session.saves.suspend, session.guest_calls)
        )
        if prepared.egress:
            relay = await session_stack.enter_async_context(session.way_out(prepared.egress))
            sockets["egress"] = relay.theirs
    session.show_ways_in(native_port, access.web_certificate)
    sockets["link"] = gateway.theirs
    return replace(prepared.plan, overlay=overlay, certificates=access.certificates)


async def _disk(session_stack: AsyncExitStack, prepared: Prepared, session: Session) -> str:
    """The disk that is written to: the one that there is, that of the saved desktop, or an empty one.

    That of a saved desktop is being filled from now on. Raises Refusal.
    """
    if prepared.resume:
        overlay = session.place / shared_files.OVERLAY
        overlay.touch(0o600, exist_ok=False)
        session.restoring = await session_stack.enter_async_context(_restoring(prepared, session))
        return str(overlay)
    # What is saved names no file: what lies below is told to QEMU.
    plan = prepared.plan
    if plan.encrypted:
        return await encrypted_start.made(prepared, session.place, session.held)
    return plan.overlay or await overlay_disk.make_overlay(
        session.place, plan.layers if plan.freeze else (), prepared.disk_size
    )


@asynccontextmanager
async def _restoring(prepared: Prepared, session: Session) -> AsyncIterator[asyncio.Task[None]]:
    """The saved desktop is read, beside all that its session needs; nobody reads any more when this ends."""
    reading = asyncio.create_task(suspending.restored(prepared, session.place, session.held, session.public.progress))
    try:
        yield reading
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


async def _restored(session: Session, reading: asyncio.Task[None]) -> None:
    """Wait until it is read. Raises Refusal."""
    with session_folders.trouble_told(session.place):
        try:
            await reading
        except asyncio.CancelledError:
            what = f"session {session.state.id} was told to end while its desktop was read"
            raise Refusal(session.exit_code(), what, hint="the saved desktop is as it was: 7lbd saved list") from None


def _harvest(harvest: Harvest, folder: Path, state: SessionState, *, nobody_left: bool) -> None:
    """Only what nobody inside can change any more is taken. Raises Refusal."""
    if not nobody_left:
        what = f"{folder}: the machine's processes do not end, so nothing that it left is taken"
        raise Refusal(ExitCode.BROKE, what, hint="a disk or a file server does not answer: 7lbd doctor")
    harvest(folder, state)


@contextmanager
def _signals(early: EarlyCalls, hear: Hear) -> Iterator[None]:
    """Those that end a session are heard from the first moment: what comes before there is one waits for it."""
    loop = asyncio.get_running_loop()

    def heard(number: int) -> None:
        if not hear(number):
            early.on_signal(number)

    for number in process.END_SIGNALS:
        loop.add_signal_handler(number, heard, number)
    try:
        yield
    finally:
        for number in process.END_SIGNALS:
            loop.remove_signal_handler(number)


@contextmanager
def _claimed(prepared: Prepared, warn: Callable[[str], None]) -> Iterator[None]:
    """Say which version is in use, then hold its files: in this order nobody can remove it unseen. Raises Refusal."""
    with ExitStack() as claim:
        if prepared.lease:
            repository, image = prepared.lease
            claim.enter_context(leases.held(repository, image.name, image.version, prepared.plan.session))
        if prepared.resume and not prepared.copied:
            claim.enter_context(_claim_on_desktop(prepared, prepared.resume).held(warn))
        claim.enter_context(image_lock.in_use(_files_of_image(prepared.plan), prepared.identities))
        yield


@contextmanager
def _in_project(prepared: Prepared) -> Iterator[Project | None]:
    """The project's network with credentials that no other session has. Raises Refusal."""
    project = prepared.plan.project
    if project is None or prepared.project_keys is None:
        yield None
        return
    with client_keys.held(prepared.project_keys) as credentials:
        yield replace(project, credentials=credentials)


def _claim_on_desktop(prepared: Prepared, order: Read) -> Claim:
    return Claim(
        Path(order.source),
        prepared.plan.session,
        order.facts.desktop,
        Path(order.keys) if order.keys else None,
        job=prepared.job.job if prepared.job else "",
        again=prepared.started_again,
    )


def _files_of_image(plan: Plan) -> list[str]:
    warm = [plan.warm.disk, plan.warm.memory] if plan.warm else []
    return [*(layer.path for layer in plan.layers), *warm]
