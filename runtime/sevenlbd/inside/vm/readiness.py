"""The order in which a desktop becomes ready: DHCP, then the ready line or the agent, then RDP really answering.

What the guest says here is only believed as far as "I am up": it gains nothing by lying.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from ...wire.plan import Plan
from ..net import network
from . import adoption, rdp_probe
from .agent import Agent
from .ready_line import ReadyLine

_POLL = 0.1  # seconds; somebody waits
# A guess: an image's task at the start may want a password of the host's, and a machine to be frozen gets none.
_LINE_OF_NOBODY_SECONDS = 180.0

_DEAF_SECONDS = 120.0  # a guess: on a busy node an agent that lives may be silent for a minute
_DEAF = "the guest's agent does not answer, so its clock, password and shares are as when it was suspended"

Tell = Callable[[str], None]


async def wait_until_ready(plan: Plan, line: ReadyLine, agent: Agent, tell: Tell, warn: Tell) -> None:
    """Return when a user can log in, or a command can run. `tell` gets each milestone as it is reached."""
    guest_ready = asyncio.create_task(_guest_word(plan, line, agent, tell, warn))
    try:
        if plan.network == "tap":
            await _until(_has_lease)
            tell("dhcp")
        await guest_ready
    finally:
        guest_ready.cancel()
    if not plan.shows_desktop:
        return
    await _until_rdp(plan)
    if plan.freeze and plan.guest.smbios:
        await _line_of_nobody(line, tell, warn)
        await _until_rdp(plan)
    tell("rdp")


async def wait_until_thawed(plan: Plan, served: asyncio.Event, agent: Agent, tell: Tell, warn: Tell) -> None:
    """The same for a machine that goes on from a warm state: it is made this session's own first.

    Its SMBIOS strings are those of nobody, so the agent gives it all: zone and time, and through the image's
    hook the user and password of the shares, as soon as these are `served`; and the password.
    """
    answers = asyncio.create_task(_until_rdp(plan))
    try:
        if not plan.guest.agent or not await _is_heard(plan, agent, warn):
            await served.wait()  # its guest goes on at once, with drives that were there
            await answers
            tell("rdp")
            return
        tell("agent")
        await adoption.set_time(plan, agent, tell, warn)
        await served.wait()
        async with asyncio.TaskGroup() as both:
            # The hook takes longest: it is started first, and the agent is free again while it runs.
            both.create_task(adoption.tell_hook(plan, agent, tell, warn))
            await asyncio.sleep(0)
            if await adoption.set_password(plan.guest.account, plan.password, agent, warn, needed=True):
                tell("password")
        if not plan.shows_desktop:
            return
        await answers
        # The hook may have given the server another certificate.
        await _until_rdp(plan)
        tell("rdp")
    finally:
        answers.cancel()


async def _is_heard(plan: Plan, agent: Agent, warn: Tell) -> bool:
    """Whether the agent answers: one that was deaf when its desktop was suspended is so for ever, and the desktop is
    its user's all the same."""
    try:
        async with asyncio.timeout(_DEAF_SECONDS if plan.resumed and plan.shows_desktop else None):
            await until_answers(agent)
    except TimeoutError:
        warn(_DEAF)
        return False
    return True


async def until_answers(agent: Agent) -> None:
    """Return when the agent is there."""
    await _until(agent.answers)


async def until_silent(agent: Agent) -> None:
    """Return when the agent is there no longer."""

    async def silent() -> bool:
        return not await agent.answers()

    await _until(silent)


async def _guest_word(plan: Plan, line: ReadyLine, agent: Agent, tell: Tell, warn: Tell) -> None:
    """The ready line, or the password set by the agent; an image with both is waited for on both.

    The agent's password counts last: it overrides whatever a start-up task did before.
    """
    guest = plan.guest

    async def ready_line() -> None:
        await line.came.wait()
        tell("ready-line")

    async def by_agent() -> None:
        await until_answers(agent)
        tell("agent")
        await adoption.set_time(plan, agent, tell, warn)
        needed = plan.freeze or not guest.smbios
        if await adoption.set_password(guest.account, plan.password, agent, warn, needed=needed):
            tell("password")
        if plan.administrator:
            await adoption.set_password(plan.administrator, plan.password, agent, warn, needed=False)

    waits: list[Awaitable[None]] = []
    if guest.smbios and not plan.freeze:
        waits.append(ready_line())
    if guest.agent:
        waits.append(by_agent())
    await asyncio.gather(*waits)


async def _line_of_nobody(line: ReadyLine, tell: Tell, warn: Tell) -> None:
    """What the image's task does before its line is to be frozen, too: a certificate, for instance."""
    try:
        async with asyncio.timeout(_LINE_OF_NOBODY_SECONDS):
            await line.came.wait()
        tell("ready-line")
    except TimeoutError:
        warn("no ready line came: perhaps the image sends none when the host gives no password, and it is frozen so")


async def _until_rdp(plan: Plan) -> None:
    address = network.rdp_address(plan.network)
    await _until(lambda: rdp_probe.answers(*address))


async def _has_lease() -> bool:
    return network.has_lease()


async def _until(true: Callable[[], Awaitable[bool]]) -> None:
    while not await true():
        await asyncio.sleep(_POLL)
