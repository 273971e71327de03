"""The guest reads and writes 200 MB on its home share: through the tap, and through QEMU's user-mode network.

Both guests are up at the same time and measured in turns. A write ends when the server has it (fsync); a read
begins with the guest's cache dropped.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tests.session.harness import DEMO, Console

from .measure import Bench
from .sessions import started

_MEGABYTES = 200
_HOME = "/home/user1/Home"
_TIMEOUT = 600.0


def run(bench: Bench) -> None:
    """Both networks in turns, each way."""
    file = Path.home() / f"7lbd-bench-{os.getpid()}"
    with ExitStack() as stack:
        stack.callback(file.unlink, missing_ok=True)
        guests = {}
        for network in ("tap", "user"):
            bench.tell(f"booting the demo guest, network {network}")
            timed = stack.enter_context(started(DEMO, "--network", network))
            timed.phase("ready")
            console = Console(timed.session)
            stack.callback(console.close)
            guests[network] = console
        rounds = bench.rounds(5)
        written = bench.in_turns({name: _writing(console, file.name) for name, console in guests.items()}, rounds)
        read = bench.in_turns({name: _reading(console, file.name) for name, console in guests.items()}, rounds)
    for way, taken in (("write", written), ("read", read)):
        for network, rates in taken.items():
            bench.add(f"{way} {_MEGABYTES} MB, {network}", "MB/s", rates)
        bench.compare(f"{way}: tap against user-mode network", taken["tap"], taken["user"], "more is better")


def _writing(console: Console, name: str) -> Callable[[], float]:
    command = f"dd if=/dev/zero of={_HOME}/{name} bs=1M count={_MEGABYTES} conv=fsync"
    return lambda: _rate(console, command)


def _reading(console: Console, name: str) -> Callable[[], float]:
    command = f"sync; echo 3 | sudo tee /proc/sys/vm/drop_caches >/dev/null; dd if={_HOME}/{name} of=/dev/null bs=1M"
    return lambda: _rate(console, command)


def _rate(console: Console, command: str) -> float:
    return rate(console.run(f"export LC_ALL=C; {command} 2>&1", timeout=_TIMEOUT))


def rate(printed: str) -> float:
    """Megabytes (10^6) a second, from what dd prints."""
    found = re.search(r"(\d+) bytes .* copied, ([\d.e+-]+) s", printed)
    assert found, f"dd printed no rate: {printed}"
    return int(found[1]) / 1e6 / float(found[2])
