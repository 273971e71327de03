"""What happens in a round, drawn from its seed and from nothing else: the same seed, the same round, anywhere."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

ROLES = (
    "supervisor", "apptainer", "squashfuse", "keeper", "gateway", "smbd", "dnsmasq", "qemu", "swtpm", "relay", "broker",
)  # fmt: skip
WAYS_OUT = frozenset({"relay", "broker"})
"""Roles that there are where a site allows ways out."""
TPM = "swtpm"
"""The role that there is with a firmware that wants one."""
NOTHING = "nothing"
KILL_ALL = "kill-all"
DEEDS = (
    *("kill",) * 6, *("stop",) * 3, "hang", "stop-all", "sleep", "stamps", *("full-disk",) * 2, "no-folder", "no-sif",
    "no-image", NOTHING,
)  # fmt: skip
"""Kinds of faults; those that meet one process come more often, as there are more processes."""
_ALL_OF_KILLS = 0.15
"""So often it is all of a session that is killed, as a scheduler does, or a node that dies: nobody tidies up then."""
EACH = ("kill", "stop", "hang")
"""Those that meet one process: it is gone, stands still for up to a second, or for up to a dozen."""
TO_ONE = frozenset(EACH)
STARTS = {"cold": 4, "warm": 4, "saved": 2}
"""How sessions begin, and how often of ten: the machine boots, or goes on from a warm state or from a file."""
PHASES = {
    "preparing": 0.3, "booting": 0.4, "ready": 0.3, "checkpointing": 0.3, "suspending": 0.3, "stopping": 0.1,
}  # fmt: skip
"""When faults fall, in the order of a session's life, and how many seconds after its begin at most."""
READY = frozenset({"ready", "checkpointing", "suspending"})
"""Those that a session comes to when its desktop is ready."""
SAVING = frozenset({"checkpointing", "suspending"})
"""Those in which its desktop is written to a file."""
_MOST_SESSIONS, _MOST_FAULTS, _MOST_FILES = 2, 2, 8
_AHEAD = (0, 0, 0, 86_400, 400_000_000, -400_000_000)  # seconds: none, a day, twelve years, a node that has just booted


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
    """`uptime`: seconds by which the sessions' time since boot is ahead of the node's; 0: it is the node's.

    Less than nothing is as far behind as can be. The clock of a desktop that was saved jumps so: it had the node's.
    """

    seed: int
    start: str
    sessions: int
    uptime: int
    files: tuple[int, ...]
    """Bytes of each file that is written."""
    faults: tuple[Fault, ...]

    def has_role(self, *roles: str) -> bool:
        """Whether one of these processes is to be met, so that there must be one."""
        return any(fault.deed in TO_ONE and fault.role in roles for fault in self.faults)

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is done before the clients are through, so that they must be heard."""
        return all(fault.deed == NOTHING or fault.phase == "stopping" for fault in self.faults)

    def of(self, session: int) -> tuple[Fault, ...]:
        """What happens to one session."""
        return tuple(fault for fault in self.faults if fault.session == session)


def of(seed: int) -> Round:
    """The round of this seed."""
    drawn = random.Random(seed)
    sessions = drawn.choices((1, _MOST_SESSIONS), (4, 1))[0]
    uptime = drawn.choice(_AHEAD)
    files = tuple(drawn.choice((0, 1, 4096, 70_000, 1_000_000)) for _ in range(drawn.randint(1, _MOST_FILES)))
    faults = tuple(_fault(drawn, sessions) for _ in range(drawn.randint(1, _MOST_FAULTS)))
    (start,) = drawn.choices(tuple(STARTS), tuple(STARTS.values()))
    faults = tuple(
        replace(one, deed=KILL_ALL) if one.deed == "kill" and drawn.random() < _ALL_OF_KILLS else one for one in faults
    )
    played = Round(seed, start, sessions, uptime, files, faults)
    # What goes on has the machine and the ways out that it was frozen with: neither a TPM nor any.
    return replace(played, start="cold") if played.has_role(TPM, *WAYS_OUT) else played


def each(deed: str, seed: int) -> list[int]:
    """Seeds from `seed` on, one for each process and phase, whose round has nothing but this deed, done to it then."""
    wanted = {(phase, role) for phase in PHASES for role in ROLES}
    seeds = []
    while wanted:
        faults = of(seed).faults
        met = (faults[0].phase, faults[0].role)
        if len(faults) == 1 and faults[0].deed == deed and met in wanted:
            wanted.remove(met)
            seeds.append(seed)
        seed += 1
    return seeds


def _fault(drawn: random.Random, sessions: int) -> Fault:
    phase, most = drawn.choice(tuple(PHASES.items()))
    return Fault(
        drawn.randrange(sessions), phase, round(drawn.uniform(0, most), 3),
        drawn.choice(DEEDS), drawn.choice(ROLES), round(drawn.uniform(0.05, 1.0), 3),
    )  # fmt: skip
