"""What happens in a round, drawn from its seed and from nothing else: the same seed, the same round, anywhere."""

from __future__ import annotations

import random
from dataclasses import dataclass

ROLES = ("supervisor", "apptainer", "keeper", "gateway", "smbd", "dnsmasq", "qemu")
DEEDS = ("kill", "kill", "kill", "stop", "stop", "full-disk", "no-folder", "no-sif", "no-image", "nothing")
"""Kinds of faults; those that meet one process come more often, as there are more processes."""
_MOST_SESSIONS, _MOST_FAULTS, _MOST_FILES = 2, 2, 8
_PREPARING, _BOOTING, _STOPPING = 0.5, 0.4, 0.3


@dataclass(frozen=True)
class Fault:
    """`after` seconds of a phase, `deed` is done to a session; `seconds` is how long it lasts, where it has an end."""

    session: int
    phase: str
    after: float
    deed: str
    role: str
    seconds: float


@dataclass(frozen=True)
class Round:
    """`uptime`: seconds by which the sessions' time since boot is ahead of the node's; 0: it is the node's."""

    seed: int
    sessions: int
    uptime: int
    files: tuple[int, ...]
    """Bytes of each file that is written."""
    faults: tuple[Fault, ...]


def of(seed: int) -> Round:
    """The round of this seed."""
    drawn = random.Random(seed)
    sessions = drawn.choices((1, _MOST_SESSIONS), (4, 1))[0]
    uptime = drawn.choice((0, 0, 0, 86_400, 400_000_000))
    files = tuple(drawn.choice((0, 1, 4096, 70_000, 1_000_000)) for _ in range(drawn.randint(1, _MOST_FILES)))
    faults = tuple(_fault(drawn, sessions) for _ in range(drawn.randint(1, _MOST_FAULTS)))
    return Round(seed, sessions, uptime, files, faults)


def _fault(drawn: random.Random, sessions: int) -> Fault:
    phase, most = drawn.choice((("preparing", _PREPARING), ("booting", _BOOTING), ("stopping", _STOPPING)))
    return Fault(
        drawn.randrange(sessions), phase, round(drawn.uniform(0, most), 3),
        drawn.choice(DEEDS), drawn.choice(ROLES), round(drawn.uniform(0.05, 1.0), 3),
    )  # fmt: skip
