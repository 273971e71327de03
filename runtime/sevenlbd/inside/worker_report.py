"""A guest that joins a pool: it is handed its record, and then asked what it does, for as long as it is there.

The record goes through the agent's channel alone. What the guest says of itself is passed on, and believed by nobody.
"""

from __future__ import annotations

import asyncio

from ..wire.keeper import EventKind
from ..wire.worker_words import Join, WorkerPhase
from .reports import Reports
from .vm.agent import Agent, AgentError

_HOOK_SECONDS = 120.0  # a guess: it starts a service, on a busy node or under emulation
_LOOK_SECONDS = 2.0  # a job waits for whoever looks: a fraction of what a pool needs to match one
_MOST_BYTES = 512  # a sentence or two


async def kept(join: Join, agent: Agent, reports: Reports) -> None:
    """Have the guest join, then tell each change of what it says of itself, until this is cancelled."""
    try:
        await agent.run(join.hook, join.record, _HOOK_SECONDS)
    except (AgentError, OSError) as error:
        reports.tell(EventKind.WORKER, f"{WorkerPhase.REFUSED} the guest cannot join: {error}")
        return
    reports.tell(EventKind.MILESTONE, "told-pool")
    last = ""
    while join.status:
        status = await _status(join.status, agent)
        if status and status != last:
            last = status
            reports.tell(EventKind.WORKER, status)
        await asyncio.sleep(_LOOK_SECONDS)


async def _status(path: str, agent: Agent) -> str:
    """The guest's one line; empty while there is none, or nobody answers: it may be suspended, or very busy."""
    try:
        printed = await agent.read(path, _MOST_BYTES)
    except (AgentError, OSError):
        return ""
    lines = printed.decode(errors="replace").splitlines()
    return lines[0].strip() if lines else ""
