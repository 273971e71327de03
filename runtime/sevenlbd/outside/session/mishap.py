"""What it means that a session's machine died, and what helps: in particular, that the kernel killed it.

The keeper's words are the inside's: they are looked at for a signal's number and not believed any further.
"""

from __future__ import annotations

import re
import signal
from pathlib import Path

from ...wire.keeper import NO_PROC
from ..node import abilities

_SIGNAL = re.compile(r"\bsignal (\d{1,2})\b")


def hint(message: str, log: Path, *, in_job: bool) -> str:
    """What helps, and where there is more. `in_job` is whether a scheduler gave the memory."""
    exit_signal = _SIGNAL.search(message)
    more = f"its log: {log}"
    if NO_PROC in message:
        return f"start it {abilities.UNCOVERED}; {more}"
    match int(exit_signal[1]) if exit_signal else 0:
        case signal.SIGKILL:
            return f"{_killed(in_job=in_job)}; {more}"
        case signal.SIGXFSZ:
            return f"what the guest has written is more than one file may have here (ulimit -f); {more}"
        case signal.SIGXCPU:
            return f"it has used up the time of a CPU that it may have here (ulimit -t); {more}"
    return more


def nothing_lost(source: str, written_by: str, here: str) -> str:
    """Of a machine that should have gone on from a saved desktop, whose QEMU may have been an older one than that here.

    What a newer QEMU reads of an older one's devices is promised by QEMU for a machine type, and not always kept.
    """
    kept = f"nothing of {source} is lost"
    if written_by == here:
        return kept
    return f"{kept}; QEMU {written_by} has written it, and here is {here}: resume it with the 7lbd that suspended it"


def _killed(*, in_job: bool) -> str:
    """Who kills a machine: the kernel, when memory is short. It counts that (cgroups(7), memory.events)."""
    counted = abilities.killed_for_memory()
    so_far = f", which counts {counted} processes killed for that" if counted else ""
    limits = f"the job's, its control group's{so_far}," if in_job else f"its control group's{so_far},"
    more = "Ask the scheduler for more (--mem), or give" if in_job else "Give"
    return (
        f"that is how the kernel ends what is beyond a limit of memory: {limits} or the node's. "
        f"{more} the guest less (--memory)"
    )
