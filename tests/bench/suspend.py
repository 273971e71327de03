"""Suspended and resumed: the demo guest from its warm state, with so much memory dirtied, into a file and back."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.session import harness
from tests.session.harness import DEMO, Console, Session

from .measure import Bench
from .sessions import tree

DIRTIED = (0, 256, 512, 1024)  # MiB; linear in them is what is expected
SUSPEND_SECONDS, SIZE_SHARE, RESUME = 5.0, 0.4, 1.5
_MIB = 1 << 20


@dataclass(frozen=True)
class Round:
    """What one desktop took; times in seconds, sizes in bytes."""

    warm: float
    suspend: float
    held: float
    size: int
    used: int
    resume: float


def run(bench: Bench) -> None:
    """From the exec of `suspend` to the closed file, and from that of `resume` to ready."""
    variants = {str(dirtied): lambda dirtied=dirtied: _round(dirtied) for dirtied in DIRTIED}
    taken = bench.in_turns(variants, bench.rounds(3))
    for name, rounds in taken.items():
        what = f"{name} MiB dirtied"
        limit = SUSPEND_SECONDS if name == "0" else None
        bench.add(f"suspend to closed file, {what}", "s", [one.suspend for one in rounds], limit=limit)
        bench.add(f"of which the guest stands still, {what}", "s", [one.held for one in rounds])
        bench.add(f"size of the file, {what}", "MiB", [one.size / _MIB for one in rounds])
        share = [one.size / one.used for one in rounds]
        bench.add(f"the file against memory in use, {what}", "times", share, limit=SIZE_SHARE if name == "0" else None)
        bench.add(f"resume to ready, {what}", "s", [one.resume for one in rounds])
        ratio = [one.resume / one.warm for one in rounds]
        bench.add(f"resume against a warm start, {what}", "times", ratio, limit=RESUME if name == "0" else None)
    bench.add("warm start to ready", "s", [one.warm for rounds in taken.values() for one in rounds])


def _round(dirtied: int) -> Round:
    with _place() as place:
        warm, session = _ready(place, "run", "--image", str(DEMO), "--name", "bench")
        used = _dirty(session, dirtied)
        began = time.monotonic()
        call = harness.command("suspend", "--session-dir", str(place / "s"), "bench", options=tree())
        subprocess.run(call, env=_env(place), check=True, capture_output=True, timeout=120)
        suspend = time.monotonic() - began
        session.wait_end()
        last = session.events[-1]
        held = last["phases"]["suspended"] - last["milestones"].get("flushed", last["phases"]["suspending"])
        size = (place / "state" / "saved" / "bench.7lbd").stat().st_size
        resume, again = _ready(place, "resume", "--image", str(DEMO), "bench")
        again.send(signal.SIGTERM)
        again.wait_end()
        return Round(warm, suspend, held, size, used, resume)


@contextmanager
def _place() -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(prefix="7b-"))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _env(place: Path) -> dict[str, str]:
    return {**os.environ, "SEVENLBD_STATE_DIR": str(place / "state")}


def _ready(place: Path, verb: str, *arguments: str) -> tuple[float, Session]:
    """A session that is ready, and the seconds from its exec to that."""
    call = harness.command(
        *(verb, "--json", "--stop-grace", "0", "--session-dir", str(place / "s"), *arguments), options=tree()
    )
    began = time.time()
    process = subprocess.Popen(call, env=_env(place), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    session = Session(process, place / "s")._begin()
    event = session.wait_phase("ready")
    reached: float = event["started"] + event["phases"]["ready"]
    return reached - began, session


def _dirty(session: Session, dirtied: int) -> int:
    """Write so many MiB of noise into the guest's memory; returns the bytes that it uses then."""
    shell = Console(session)
    shell.run("sudo mount -o remount,size=1500m /dev/shm")
    shell.run(f"head -c {dirtied}M /dev/urandom > /dev/shm/noise", timeout=300)
    used = int(shell.run("awk '/MemTotal/ {t=$2} /MemFree/ {f=$2} END {print (t-f)*1024}' /proc/meminfo"))
    shell.close()
    return used
