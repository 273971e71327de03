"""The account's one log-on before its machine is frozen: what a first one makes is then there in every session."""

from __future__ import annotations

import asyncio

from ...wire.plan import Plan
from . import readiness
from .agent import Agent, AgentError, ProgramFailed
from .readiness import Tell
from .ready_line import ReadyLine

_START_ANEW = (
    75  # sysexits.h, EX_TEMPFAIL; docs/images.md: the hook wants the guest to be started anew, and to be run again
)
_SECONDS = 1800.0  # a guess: a first log-on takes a minute or two, a restart as well, and ten times that in emulation
_MOST_RUNS = 3  # a guess: one start anew is what a log-on takes


async def once(plan: Plan, line: ReadyLine, agent: Agent, tell: Tell, warn: Tell) -> None:
    """Return when the image's hook has done it, and the guest is ready again.

    Raises AgentError, OSError, and TimeoutError when the guest may be anywhere on its way.
    """
    facts = f"user={plan.guest.account}\npassword={plan.password}\n"
    async with asyncio.timeout(_SECONDS):
        for _ in range(_MOST_RUNS):
            try:
                await agent.run(plan.logon_hook, facts, _SECONDS)
                return
            except ProgramFailed as failed:
                if failed.code != _START_ANEW:
                    raise
            line.came.clear()
            await agent.shutdown("reboot")
            await readiness.until_silent(agent)
            await readiness.wait_until_ready(plan, line, agent, tell, warn)
    raise AgentError(f"{plan.logon_hook[0]} in the guest wanted to start anew again and again")
