"""What one long session has now: memory, descriptors, processes; and what is in the folders around it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import harness
from harness import Session

_NAMES = {
    "supervisor": "/usr/bin/7lbd", "keeper": "start.py sevenlbd.inside ", "gateway": "sevenlbd.inside.gateway",
    "smbd": "sbin/smbd", "dnsmasq": "dnsmasq", "qemu": "qemu-system",
}  # fmt: skip


def sample(session: Session, folders: list[Path]) -> dict[str, float]:
    """Everything by its name; memory is private and dirty, in MiB: what is shared counts for nobody.

    Raises AssertionError when one of the names cannot be looked at: what is not seen would be flat for ever.
    """
    below = harness.descendants(session.process.pid)
    found = of_processes(below)
    found["processes"] = len(below)
    found["files"] = sum(len(names) for folder in folders for _, _, names in os.walk(folder))
    found["log bytes"] = sum(path.stat().st_size for path in (session.folder / "logs").glob("*"))
    return found


def of_processes(below: Mapping[int, str]) -> dict[str, float]:
    """Memory and descriptors of each name's processes, of which some may end just now. Raises AssertionError."""
    found: dict[str, float] = {}
    for name, words in _NAMES.items():
        pids = [pid for pid, line in below.items() if words in line]
        assert pids, f"there is no {name}, so its growth would not be seen"
        for what, measured in (("memory", _private), ("descriptors", _descriptors)):
            found[f"{name} {what}"] = sum(measured(pid) for pid in pids)
            assert found[f"{name} {what}"] > 0, f"the {what} of {name} cannot be read, so its growth would not be seen"
    return found


def _private(pid: int) -> float:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Private_Dirty:"):
                return int(line.split()[1]) / 1024
    return 0.0


def _descriptors(pid: int) -> float:
    with suppress(OSError):
        return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    return 0.0
