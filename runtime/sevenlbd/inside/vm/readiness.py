"""The order in which a desktop becomes ready: DHCP, then the ready line or the agent, then RDP really answering.

What the guest says here is only believed as far as "I am up": it gains nothing by lying.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from ...wire.plan import Guest, Plan
from ..net import network
from . import rdp_probe
from .agent import Agent, AgentError, AgentRefusal
from .ready_line import ReadyLine

log = logging.getLogger(__name__)

_POLL = 0.1  # seconds; somebody waits
_PASSWORD_REFUSALS = 5  # a guess: an account may not be there yet, and after some seconds never will
_PASSWORD_PAUSE = 1.0  # seconds; the agent comes up with the system, and is not called more often
_HOOK_SECONDS = 60.0  # drives and a home are set up in it, on a busy node or under emulation

Tell = Callable[[str], None]


async def wait_until_ready(plan: Plan, line: ReadyLine, agent: Agent, tell: Tell, warn: Tell) -> None:
    """Return when a user can log in. `tell` gets each milestone as it is reached."""
    guest_ready = asyncio.create_task(_guest_word(plan.guest, plan.password, line, agent, tell, warn))
    try:
        if plan.network == "tap":
            await _until(_has_lease)
            tell("dhcp")
        await guest_ready
    finally:
        guest_ready.cancel()
    address = network.rdp_address(plan.network)
    await _until(lambda: rdp_probe.answers(*address))
    tell("rdp")


async def wait_until_thawed(plan: Plan, served: asyncio.Event, agent: Agent, tell: Tell, warn: Tell) -> None:
    """The same for a machine that goes on from a warm state: it is made this session's own first.

    Its SMBIOS strings are those of nobody, so the agent gives it all: the time, the password, and through the image's
    hook the user and password of the shares, as soon as these are `served`.
    """
    answers = asyncio.create_task(_until(lambda: rdp_probe.answers(*network.rdp_address(plan.network))))
    try:
        if not plan.guest.agent:
            await answers
            tell("rdp")
            return
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
    if not plan.hook:
        return
    try:
        shares = ",".join(share.name for share in plan.shares)
        facts = f"user={plan.user}\npassword={plan.password}\nshares={shares}\n"
        await agent.run(plan.hook, facts, _HOOK_SECONDS)
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
