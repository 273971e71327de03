"""What the agent does to a guest so that it is this session's: its time zone and clock, password, shares."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from ...wire.plan import Plan
from .agent import Agent, AgentError, AgentRefusal

log = logging.getLogger(__name__)

_PASSWORD_REFUSALS = 5  # a guess: an account may not be there yet, and after some seconds never will
_PASSWORD_PAUSE = 1.0  # seconds; the agent comes up with the system, and is not called more often
_HOOK_SECONDS = 60.0  # for drives, a home, a service that sets the zone, on a busy node or under emulation

Tell = Callable[[str], None]


async def set_time(plan: Plan, agent: Agent, tell: Tell, warn: Tell) -> None:
    """The zone first: a system whose hardware clock shows local time writes that when its clock is set."""
    if plan.timezone_command:
        try:
            await agent.run(plan.timezone_command, "", _HOOK_SECONDS)
        except (AgentError, OSError) as error:
            warn(f"the guest's time zone stays the image's own (--timezone image wants no other): {error}")
    try:
        await agent.set_clock()
        tell("clock")
    except (AgentError, OSError) as error:
        since = "since it was frozen" if plan.goes_on else "since it booted"
        warn(f"the guest's clock may be wrong, as it has been {since}: {error}")


async def tell_hook(plan: Plan, agent: Agent, tell: Tell, warn: Tell) -> None:
    """Give the image's hook what a machine that booted reads in its SMBIOS strings."""
    if not plan.hook:
        return
    try:
        await agent.run(plan.hook, facts(plan), _HOOK_SECONDS)
        tell("session")
    except (AgentError, OSError) as error:
        warn(f"the guest could not be told of its session, so it may lack the user's files: {error}")


def facts(plan: Plan) -> str:
    """Lines for a hook: what the shares are, and what opens them."""
    shares = ",".join(share.name for share in plan.shares)
    return f"user={plan.user}\npassword={plan.password}\nshares={shares}\n"


async def set_password(account: str, password: str, agent: Agent, warn: Tell, *, needed: bool) -> bool:
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
