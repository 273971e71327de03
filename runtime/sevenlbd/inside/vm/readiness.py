"""When is the desktop ready? DHCP, then the ready line or the agent, then RDP really answering.

What the guest says here is only believed as far as "I am up": it gains nothing by lying.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from ...wire.messages import Guest, Plan
from ..net import network
from .agent import Agent, AgentError, AgentRefusal

log = logging.getLogger(__name__)

_POLL = 0.1
_LINE_SECONDS = 10.0
_MAX_LINE = 256
_MAX_CALLERS = 16
_PASSWORD_REFUSALS = 5
_PASSWORD_PAUSE = 1.0
_HOOK_SECONDS = 60.0
# MS-RDPBCGR 2.2.1.1: TPKT, X.224 Connection Request, RDP_NEG_REQ for TLS, CredSSP and CredSSP-EX.
_X224_REQUEST = bytes.fromhex("03000013 0e e0 0000 0000 00 01 00 0800 0b000000")
_TPKT_VERSION, _X224_CONFIRM = 3, 0xD0

Tell = Callable[[str], None]


class ReadyLine:
    """The contract's third clause: one line on TCP port 54321."""

    def __init__(self) -> None:
        self.came = asyncio.Event()
        self._open = 0

    @asynccontextmanager
    async def listening(self, mode: str) -> AsyncIterator[None]:
        """Listen on the contract's address; with user-mode networking QEMU leads the guest to our loopback."""
        address = network.host_address(mode)
        server = await asyncio.start_server(self._on_connect, address, network.READY_PORT, limit=_MAX_LINE, backlog=4)
        async with server:
            yield

    async def _on_connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open <= _MAX_CALLERS:
                line = await asyncio.wait_for(reader.readline(), _LINE_SECONDS)
                if line:
                    self.came.set()
        except (TimeoutError, ValueError, ConnectionError):
            pass
        finally:
            self._open -= 1
            writer.close()


async def wait_until_ready(plan: Plan, line: ReadyLine, agent: Agent, tell: Tell, warn: Tell) -> None:
    """Return when a user can log in. `tell` gets each milestone as it is reached."""
    word = asyncio.create_task(_guest_word(plan.guest, plan.password, line, agent, tell, warn))
    try:
        if plan.network == "tap":
            await _until(_has_lease)
            tell("dhcp")
        await word
    finally:
        word.cancel()
    address = network.rdp_address(plan.network)
    await _until(lambda: rdp_answers(*address))
    tell("rdp")


async def wait_until_thawed(plan: Plan, served: asyncio.Event, agent: Agent, tell: Tell, warn: Tell) -> None:
    """The same for a machine that goes on from a warm state: it is made this session's own first.

    Its SMBIOS strings are those of nobody, so the agent gives it all: the time, the password, and through the image's
    hook the user and password of the shares, as soon as these are `served`.
    """
    assert plan.warm
    answers = asyncio.create_task(_until(lambda: rdp_answers(*network.rdp_address(plan.network))))
    try:
        await _until(agent.answers)
        tell("agent")
        await served.wait()
        async with asyncio.TaskGroup() as both:
            # The hook takes longest: it is started first, and the agent is free again while it runs.
            both.create_task(_tell_hook(plan, agent, tell, warn))
            await asyncio.sleep(0)
            await _set_clock(agent, tell, warn)
            await _set_password(plan, agent, tell, warn)
        await answers
        tell("rdp")
    finally:
        answers.cancel()


async def _set_clock(agent: Agent, tell: Tell, warn: Tell) -> None:
    try:
        await agent.set_clock()
        tell("clock")
    except (AgentError, OSError) as error:
        warn(f"the guest's clock stands where it was frozen: {error}")


async def _tell_hook(plan: Plan, agent: Agent, tell: Tell, warn: Tell) -> None:
    assert plan.warm
    if not plan.warm.hook:
        return
    try:
        shares = ",".join(share.name for share in plan.shares)
        told = f"user={plan.user}\npassword={plan.password}\nshares={shares}\n"
        await agent.run(plan.warm.hook, told, _HOOK_SECONDS)
        tell("session")
    except (AgentError, OSError) as error:
        warn(f"the guest could not be told of its session, so it may lack the user's files: {error}")


async def _set_password(plan: Plan, agent: Agent, tell: Tell, warn: Tell) -> None:
    await _password_set(plan.guest.account, plan.password, agent, warn, needed=True)
    tell("password")


async def _guest_word(guest: Guest, password: str, line: ReadyLine, agent: Agent, tell: Tell, warn: Tell) -> None:
    """The ready line, or the password set by the agent; an image with both is waited for on both.

    The agent's password counts last: it overrides whatever a start-up task did before.
    """

    async def ready_line() -> None:
        await line.came.wait()
        tell("ready-line")

    async def by_agent() -> None:
        await _until(agent.answers)
        tell("agent")
        if await _password_set(guest.account, password, agent, warn, needed=not guest.smbios):
            tell("password")

    waits: list[Awaitable[None]] = []
    if guest.smbios:
        waits.append(ready_line())
    if guest.agent:
        waits.append(by_agent())
    await asyncio.gather(*waits)


async def _password_set(account: str, password: str, agent: Agent, warn: Tell, *, needed: bool) -> bool:
    """Try until it is set. Whether it is: an agent that refuses again and again is let off where it is not `needed`.

    A guest on a busy node may be silent for minutes; what ends the trying is the time limit of the whole start.
    """
    refusals = 0
    while True:
        try:
            await agent.set_password(account, password)
            return True
        except AgentRefusal as refusal:
            refusals += 1
            if refusals == _PASSWORD_REFUSALS:
                warn(f"the guest agent could not set the password of {account}: {refusal}")
                if not needed:
                    return False
        except (AgentError, OSError) as error:
            log.info("the password is not set yet: %s", error)
        await asyncio.sleep(_PASSWORD_PAUSE)


async def _has_lease() -> bool:
    return network.has_lease()


async def _until(true: Callable[[], Awaitable[bool]]) -> None:
    while not await true():
        await asyncio.sleep(_POLL)


async def rdp_certificate(address: str, port: int, seconds: float = 10.0) -> bytes:
    """The certificate (DER) that the RDP server shows once a connection is upgraded to TLS.

    It is what a client will see; nobody vouches for it but that we asked in here, where only the guest answers.
    Raises OSError (TimeoutError, ssl.SSLError among them) or EOFError. Source: MS-RDPBCGR 5.4.5, external security.
    """
    async with asyncio.timeout(seconds):
        reader, writer = await asyncio.open_connection(address, port)
        try:
            writer.write(_X224_REQUEST)
            header = await reader.readexactly(4)
            confirm = await reader.readexactly(max(0, int.from_bytes(header[2:]) - len(header)))
            if header[0] != _TPKT_VERSION or confirm[1:2] != bytes([_X224_CONFIRM]):
                raise ConnectionRefusedError("that is no RDP server")
            await writer.start_tls(_anybody())
            shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        finally:
            writer.transport.abort()
    return bytes(shown)


def _anybody() -> ssl.SSLContext:
    """Guests sign their certificates themselves."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    # An older Windows' self-made certificate is what is asked about, not judged.
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    return context


async def rdp_answers(address: str, port: int, seconds: float = 5.0) -> bool:
    """Whether an RDP server confirms a connection: an open port alone says nothing (Windows opens it early)."""
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_connection(address, port)
            try:
                writer.write(_X224_REQUEST)
                confirm = await reader.readexactly(6)
            finally:
                writer.close()
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return False
    return confirm[0] == _TPKT_VERSION and confirm[5] == _X224_CONFIRM
