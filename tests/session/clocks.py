"""A guest's clock and time zone against the node's."""

from __future__ import annotations

import time

from harness import Console

# An order to an emulated guest takes a while where others work, too; a clock that was frozen is hours off.
MOST = 5.0  # seconds
# A node in a zone of its own: Apptainer shows its /etc/localtime as that of the container.
NEPAL = {"APPTAINER_BIND": "/usr/share/zoneinfo/Asia/Kathmandu:/etc/localtime"}


def off(shell: Console) -> float:
    """How far the guest's clock is from the node's, in seconds."""
    before = time.time()
    guest = float(shell.run("date +%s.%N"))
    return max(before - guest, guest - time.time(), 0.0)


def zone(shell: Console) -> str:
    return shell.run("readlink --canonicalize /etc/localtime").removeprefix("/usr/share/zoneinfo/")
