"""How the node's memory is: what could be had, and how much time is lost waiting for it. Sources: proc_meminfo(5), and
the kernel's Documentation/accounting/psi.rst."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
# Of the time, with everybody waiting for memory: a guess; a node that swaps a little shows a few hundredths.
STALLED = 0.3


@dataclass(frozen=True)
class HostMemory:
    """`available` in bytes. `stalled` is the share of the last ten seconds in which all waited for memory."""

    available: int
    stalled: float = 0.0


def look(proc: Path = PROC) -> HostMemory | None:
    """How it is now; None when it cannot be told."""
    with suppress(OSError, ValueError, LookupError):
        fields = dict(line.partition(":")[::2] for line in (proc / "meminfo").read_text().splitlines())
        if "MemAvailable" in fields:
            return HostMemory(int(fields["MemAvailable"].split()[0]) << 10, _stalled(proc / "pressure" / "memory"))
    return None


def _stalled(file: Path) -> float:
    """The `full` line's ten seconds; 0 for a kernel that does not keep it."""
    with suppress(OSError, ValueError, LookupError):
        for line in file.read_text().splitlines():
            kind, *values = line.split()
            if kind == "full":
                return float(dict(value.partition("=")[::2] for value in values)["avg10"]) / 100
    return 0.0
