"""Watches over the relay from the supervisor's side: what is wrong with the ways out now, and which limits were met."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

from .relay import reasons
from .relay.allowed import Allowed
from .relay_report import Reported

_LOOK_SECONDS = 2.0  # as often as the relay's heart beats
# So many looks without a heartbeat. Looks, and not seconds: a node that sleeps, or a job that is stopped as a whole,
# is no trouble of the relay's.
_MOST_MISSED = 5
STILL = "their relay stands still: its process is stopped, or the node has no time for it"


def limits(allowed: Allowed) -> dict[str, str]:
    """What there is to say of each limit that a guest has met."""
    many, rate = allowed.connections, "datagrams were dropped, as there were more than egress_rate lets through"
    return {
        reasons.CONNECTIONS: f"all {many} connections were in use (egress_connections), and more were refused",
        reasons.FLOWS: f"all {many} correspondents of UDP were in use (egress_connections): the oldest made room",
        reasons.PACE: "there were more new connections a second than a session may make, and some were refused",
        reasons.RATE: rate,
        reasons.NAMES: "more names were asked for that no name server answers than can be waited for",
    }


async def watch(
    state: Reported, texts: Mapping[str, str], warn: Callable[[str], None], show: Callable[[Sequence[str]], None]
) -> None:
    """Until cancelled: `warn` of each thing once, `show` what is wrong now whenever it changes."""
    warned: set[str] = set()
    since: dict[str, float] = {}
    beats, missed = 0, 0
    while True:
        missed = 0 if state.beats != beats else missed + 1
        beats = state.beats
        while state.warnings:
            warn(state.warnings.popleft())
        for limit in sorted(state.met & texts.keys() - warned):
            warned.add(limit)
            warn(f"the guest has met a limit of its ways out: {texts[limit]}")
        wrong = [STILL] if missed >= _MOST_MISSED else list(state.down)
        if wrong != list(since):
            since = {text: since.get(text, time.time()) for text in wrong}
            show([f"{text} (since {time.strftime('%H:%M', time.localtime(at))})" for text, at in since.items()])
        await asyncio.sleep(_LOOK_SECONDS)
