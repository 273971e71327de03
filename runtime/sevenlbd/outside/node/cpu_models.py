"""Whether this node's CPU has all that a QEMU CPU model promises: asked of QEMU itself.

Source: QEMU, qapi/machine-target.json, query-cpu-definitions.
"""

from __future__ import annotations

import json

from ...base import process

_QEMU = "/usr/bin/qemu-system-x86_64"
_SECONDS = 30  # QEMU answers within one; a busy node may take longer


def missing(model: str, accel: str) -> list[str] | None:
    """The features of `model` that a guest could not have here; None when QEMU does not know the model.

    Raises OSError or ValueError when QEMU cannot be asked.
    """
    command = [_QEMU, "-nodefaults", "-display", "none", "-machine", f"none,accel={accel}", "-qmp", "stdio"]
    questions = ["qmp_capabilities", "query-cpu-definitions", "quit"]
    given = "".join(json.dumps({"execute": question}) for question in questions)
    done = process.run(command, stdin=given, seconds=_SECONDS)
    if done.code:
        raise ValueError(f"QEMU ended with {done.code}: {done.said}")
    for line in done.printed.splitlines():
        answer = json.loads(line).get("return")
        if isinstance(answer, list):
            return next((one.get("unavailable-features", []) for one in answer if one["name"] == model), None)
    raise ValueError("QEMU did not tell its CPU models")
