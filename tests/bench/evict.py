"""An owner is back: an encrypted guest with 2 GiB dirtied is saved live, then suspended and off the machine."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.session import harness
from tests.session.harness import DEMO, Console, Session

from .measure import Bench
from .sessions import scratch, tree

_PATIENCE = 1200.0  # seconds, under emulation on a busy machine
_MIB = 1 << 20
_BLOCK = 64  # MiB of noise that is written again and again: a frame of the file has one, and finds nothing twice


def run(bench: Bench) -> None:
    """From the order to the closed file, and to a machine without the guest."""
    size = bench.amount(2048, 256)
    with scratch() as place, _guest(place, size) as session:
        counted = _counted(session)
        began = time.monotonic()
        _suspend(place, "--keep-running")
        live = time.monotonic() - began
        notes = [event["text"] for event in session.events if event["event"] == "note"]
        stood = [float(text.split()[-2]) for text in notes if "stood still for" in text]
        began = time.monotonic()
        _suspend(place)
        closed = time.monotonic() - began
        session.wait_end(_PATIENCE)
        gone = time.monotonic() - began
        file = (place / "state" / "saved" / "bench.7lbd").stat().st_size
        rate = int((place / "state" / "saved" / "rate").read_text())
    what = f"{size} MiB dirtied, encrypted"
    bench.add(f"what a coordinator counts, {what}", "MiB", [counted / _MIB])
    bench.add(f"saved live, {what}", "s", [live])
    bench.add(f"of which the guest stands still, {what}", "s", stood)
    bench.add(f"evicted: to the closed file, {what}", "s", [closed])
    bench.add(f"evicted: to a machine without it, {what}", "s", [gone])
    bench.add(f"the file, {what}", "MiB", [file / _MIB])
    bench.add("by what it goes the next time", "MiB/s", [rate / _MIB])


def _suspend(place: Path, *options: str) -> None:
    call = harness.command("suspend", *options, "--session-dir", str(place / "s"), "bench", options=tree())
    subprocess.run(call, env=_env(place), check=True, capture_output=True, timeout=_PATIENCE)


@contextmanager
def _guest(place: Path, dirtied: int) -> Iterator[Session]:
    """One that is ready, with so many MiB of noise in its memory."""
    words = ["--image", str(DEMO), "--name", "bench", "--no-home-share", "--encrypt", "--stop-grace", "0"]
    words += ["--memory", f"{dirtied + 1024}M", "--no-warm"]
    call = harness.command("run", "--json", "--session-dir", str(place / "s"), *words, options=tree())
    process = subprocess.Popen(call, env=_env(place), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    session = Session(process, place / "s")._begin()
    try:
        session.wait_phase("ready", _PATIENCE)
        shell = Console(session)
        shell.run(f"sudo mount -o remount,size={dirtied + 2 * _BLOCK}m /dev/shm", timeout=_PATIENCE)
        shell.run(f"head -c {_BLOCK}M /dev/urandom > /dev/shm/block", timeout=_PATIENCE)
        more = f"for n in $(seq {dirtied // _BLOCK - 1}); do cat /dev/shm/block; done > /dev/shm/noise"
        shell.run(more, timeout=_PATIENCE)
        shell.close()
        yield session
    finally:
        session.kill()


def _counted(session: Session) -> int:
    """As a coordinator does: what QEMU has in memory, and the overlay."""
    overlay = (session.folder / "overlay.qcow2").stat().st_blocks * 512
    for process in harness.descendants(session.process.pid):
        proc = Path("/proc") / str(process)
        if (proc / "comm").read_text().startswith("qemu-system"):
            return overlay + int((proc / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    raise AssertionError("there is no QEMU below the session")


def _env(place: Path) -> dict[str, str]:
    return {**os.environ, "SEVENLBD_STATE_DIR": str(place / "state")}
