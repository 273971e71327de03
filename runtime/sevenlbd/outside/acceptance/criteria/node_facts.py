"""The node that an acceptance ran on. Nothing in it names the node or a user."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ...node import abilities

_CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class NodeFacts:
    """CPU and kernel, and whether KVM can be used here."""

    kvm: bool
    kvm_why_not: str
    vendor: str
    model: str
    microcode: str
    flags: tuple[str, ...]
    cpus: int
    kernel: str


def gathered(cpuinfo: Path = _CPUINFO) -> NodeFacts:
    """Of this node."""
    first = cpuinfo.read_text(errors="replace").split("\n\n", 1)[0]
    rows = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in first.splitlines())}
    kvm = abilities.kvm()
    return NodeFacts(
        kvm=kvm.ok,
        kvm_why_not="" if kvm.ok else kvm.why,
        vendor=rows.get("vendor_id", ""),
        model=rows.get("model name", ""),
        microcode=rows.get("microcode", ""),
        flags=tuple(rows.get("flags", "").split()),
        cpus=abilities.cpus(),
        kernel=os.uname().release,
    )
