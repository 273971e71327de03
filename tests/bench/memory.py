"""Memory of a session of the demo guest, ready and with its home mounted, beside QEMU's own.

PSS: private pages, and of a page that n processes share, one n-th (proc(5), smaps_rollup). Apptainer's own
processes and the FUSE server of the SIF count. Where the kernel does not show a process's PSS, its RSS stands
in, which is never less.
"""

from __future__ import annotations

import re
import socket
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from tests.session.harness import DEMO, descendants

from .measure import Bench
from .sessions import started

LIMIT = 120.0
_KINDS = {
    "qemu": r"qemu-system",
    "supervisor": r"bin/7lbd",
    "keeper": r"sevenlbd\.inside \d+",
    "gateway": r"sevenlbd\.inside\.gateway",
    "smbd": r"smbd",
    "dnsmasq": r"dnsmasq",
    "squashfuse": r"squashfuse|fuse2fs|fuse-overlayfs",
    "apptainer": r"[Aa]pptainer|starter",
}


def run(bench: Bench) -> None:
    """One ready session, looked at once."""
    bench.tell("booting the demo guest")
    with started(DEMO) as timed:
        timed.phase("ready")
        _answered(timed.session.folder / "web.sock")
        lines = descendants(timed.session.process.pid)
        sizes = {pid: pss(pid) for pid in lines}
    kinds = by_kind(lines, sizes)
    machine = kinds.pop("qemu")
    bench.add("everything but QEMU", "MB", [sum(kinds.values())], limit=LIMIT)
    for kind, size in sorted(kinds.items(), key=lambda item: -item[1]):
        bench.add(f"  {kind}", "MB", [size])
    bench.add("QEMU, with what the guest touched", "MB", [machine])


def _answered(page: Path) -> None:
    """Return when the gateway has answered: a warm desktop is ready before it is."""
    with socket.socket(socket.AF_UNIX) as wire:
        wire.settimeout(60)
        wire.connect(str(page))
        wire.sendall(b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n")
        assert wire.recv(1), "the gateway does not answer"


def by_kind(lines: Mapping[int, str], sizes: Mapping[int, float]) -> dict[str, float]:
    """Sizes added up by what the processes are."""
    kinds: dict[str, float] = defaultdict(float)
    for pid, line in lines.items():
        kind = next((kind for kind, words in _KINDS.items() if re.search(words, line)), "others")
        kinds[kind] += sizes[pid]
    return dict(kinds)


def pss(pid: int) -> float:
    """A process's memory in megabytes."""
    for file, word in (("smaps_rollup", "Pss"), ("status", "VmRSS")):
        try:
            found = re.search(rf"^{word}:\s+(\d+) kB", Path(f"/proc/{pid}/{file}").read_text(), re.MULTILINE)
        except OSError:
            continue
        if found:
            return int(found[1]) * 1024 / 1e6
    return 0.0
