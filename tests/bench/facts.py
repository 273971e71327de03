"""What a figure is worth nothing without: the machine, its load, and the versions of what was measured."""

from __future__ import annotations

import datetime
import json
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

from tests.session import harness

_PACKAGES = ("qemu-system-x86", "ovmf", "samba", "dnsmasq-base", "python3", "swtpm")


def collect() -> dict[str, Any]:
    """Facts as JSON holds them."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": {
            "cpu": _found(r"^model name\s*: (.*)$", "/proc/cpuinfo"),
            "cpus": len(os.sched_getaffinity(0)),
            "memory_kb": int(_found(r"^MemTotal:\s+(\d+)", "/proc/meminfo") or 0),
            "kernel": platform.release(),
            "load": os.getloadavg(),
        },
        "versions": _versions(),
        "demo_guest": _found(r'^version = "(\w+)"', str(harness.DEMO / "image.toml")),
    }


def summary(facts: dict[str, Any]) -> str:
    """A line for people."""
    machine = facts["machine"]
    load = machine["load"][0]
    busy = ", which disturbs the figures" if load > machine["cpus"] / 2 else ""
    return f"{facts['date']}  {machine['cpus']} x {machine['cpu']}, load {load:.1f} at the beginning{busy}"


def _versions() -> dict[str, str]:
    program, _, record = harness.run("version", "--all").stdout.partition("\n")
    made = json.loads(record)
    call = ["apptainer", "--version"]
    outside = subprocess.run(call, capture_output=True, text=True, check=True).stdout.strip()
    inside = {name: made["debian_packages"].get(name, "") for name in _PACKAGES}
    return {"7lbd": program.removeprefix("7lbd "), "revision": made["revision"], "apptainer": outside, **inside}


def _found(pattern: str, file: str) -> str:
    found = re.search(pattern, Path(file).read_text(), re.MULTILINE)
    return found[1] if found else ""
