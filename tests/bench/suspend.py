"""Suspended and resumed: the demo guest from its warm state, with so much memory dirtied, into a file and back."""

from __future__ import annotations

import os
import shutil
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.session import harness
from tests.session.harness import DEMO, Console, Session

from . import suspend_live, suspend_zstd
from .measure import Bench
from .sessions import started, tree

# MiB; linear in those of programs is what is expected.
DIRTIED = {"programs": (0, 256, 512, 1024), "noise": (512,)}
# What memory is dirtied with: programs as a guest has them, machine code and text; and what nothing makes smaller.
CONTENTS = {"programs": "cat /usr/lib/x86_64-linux-gnu/*.so* /usr/bin/* 2>/dev/null", "noise": "cat /dev/urandom"}
_SAMPLE = 48  # MiB that are read once, and repeated: no compressor of ours or zstd's at -1 looks so far back
SUSPEND_SECONDS, SIZE_SHARE, RESUME, COLD, ZSTD, STILL = 5.0, 0.4, 1.5, 10.0, 2.0, 0.3
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
    written: float
    """The file alone, of the state that QEMU has left, and brought to disk."""
    zstd: float
    """`zstd -1` of the same state, into a file, brought to disk."""


def run(bench: Bench) -> None:
    """From the exec of `suspend` to the closed file, and from that of `resume` to ready."""
    taken: dict[str, list[dict[int, Round]]] = {content: [] for content in CONTENTS}
    rounds = bench.rounds(3)
    for number in range(rounds):
        for content, stories in taken.items():
            bench.tell(f"{content}, {number + 1} of {rounds}")
            # Against zstd once: it takes as long as all the rest, and each of its figures is of three turns.
            stories.append(_story(content, against_zstd=not number))
    for content, stories in taken.items():
        for dirtied in stories[0]:
            _add(bench, content, dirtied, [story[dirtied] for story in stories])
    first = taken["programs"]
    _growth(bench, "programs", {dirtied: [story[dirtied].suspend for story in first] for dirtied in first[0]})
    bench.add("warm start to ready", "s", [story[512].warm for stories in taken.values() for story in stories])
    bench.tell("a cold start")
    cold = [_cold()]
    bench.add("cold start to ready", "s", cold)
    resumed = [statistics.median(story[0].resume for story in first)]
    bench.compare("cold start against resume, 0 MiB dirtied", cold, resumed, least=COLD)
    _live(bench)


def _add(bench: Bench, content: str, dirtied: int, rounds: list[Round]) -> None:
    """The figures of so many MiB. What noise comes to is told and not promised: nothing makes it smaller."""
    what = f"{dirtied} MiB of {content} dirtied"
    promised = content == "programs"
    suspends = [one.suspend for one in rounds]
    bench.add(f"suspend to closed file, {what}", "s", suspends, limit=SUSPEND_SECONDS if promised else None)
    bench.add(f"of which the guest stands still, {what}", "s", [one.held for one in rounds])
    bench.add(f"size of the file, {what}", "MiB", [one.size / _MIB for one in rounds])
    share = [one.size / one.used for one in rounds]
    bench.add(f"the file against memory in use, {what}", "times", share, limit=SIZE_SHARE if promised else None)
    against = [one.written / one.zstd for one in rounds if one.zstd]
    bench.add(f"writing it against `zstd -1` of the same bytes, {what}", "times", against, limit=ZSTD)
    bench.add(f"resume to ready, {what}", "s", [one.resume for one in rounds])
    ratio = [one.resume / one.warm for one in rounds]
    bench.add(f"resume against a warm start, {what}", "times", ratio, limit=RESUME if promised else None)


def _growth(bench: Bench, content: str, seconds: Mapping[int, Sequence[float]]) -> None:
    """How suspending grows with the memory that was dirtied, and how far from a straight line it is."""
    medians = [statistics.median(samples) for samples in seconds.values()]
    slope, begin = statistics.linear_regression(list(map(float, seconds)), medians)
    bench.add(f"each GiB of {content} dirtied adds to suspending", "s", [slope * 1024])
    off = max(abs(begin + slope * at - took) / took for at, took in zip(seconds, medians, strict=True))
    bench.add(f"farthest from a straight line, {content}", "%", [off * 100])


def _live(bench: Bench) -> None:
    with _place() as place:
        _, session = _ready(place, "run", "--image", str(DEMO), "--name", "bench")
        try:
            stills, slower = suspend_live.measured(session, lambda: _suspend(place, "--keep-running"), bench)
        finally:
            session.kill()
    bench.add("live: a busy guest stands still", "s", stills, limit=STILL)
    bench.add("live: a busy guest is slower while it is saved", "times", slower)


def _story(content: str, *, against_zstd: bool) -> dict[int, Round]:
    """One desktop that dirties ever more, and is suspended and resumed each time."""
    rounds: dict[int, Round] = {}
    with _place() as place:
        warm, session = _ready(place, "run", "--image", str(DEMO), "--name", "bench")
        try:
            before = 0
            for dirtied in DIRTIED[content]:
                used = _dirty(session, content, dirtied - before)
                before = dirtied
                suspend = _suspend(place)
                session.wait_end()
                last = session.events[-1]
                held = last["phases"]["suspended"] - last["milestones"].get("flushed", last["phases"]["suspending"])
                saved = place / "state" / "saved" / "bench.7lbd"
                size = saved.stat().st_size
                stood = (0.0, 0.0)
                if against_zstd:
                    stood = suspend_zstd.measured(saved, DEMO / "warm" / "memory", place)
                resume, session = _ready(place, "resume", "--image", str(DEMO), "bench")
                rounds[dirtied] = Round(warm, suspend, held, size, used, resume, *stood)
            session.send(signal.SIGTERM)
            session.wait_end()
        finally:
            session.kill()
    return rounds


def _suspend(place: Path, *options: str) -> float:
    """Have it suspended; returns the seconds that it took."""
    began = time.monotonic()
    call = harness.command("suspend", *options, "--session-dir", str(place / "s"), "bench", options=tree())
    subprocess.run(call, env=_env(place), check=True, capture_output=True, timeout=120)
    return time.monotonic() - began


def _cold() -> float:
    with started(DEMO, "--no-warm") as timed:
        return timed.phase("ready")


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


def _dirty(session: Session, content: str, more: int) -> int:
    """Write so many MiB more into the guest's memory; returns the bytes that it uses then."""
    shell = Console(session)
    if more:
        shell.run("sudo mount -o remount,size=1500m /dev/shm")
        source = CONTENTS[content]
        if content == "programs":
            shell.run(f"[ -s /dev/shm/sample ] || {source} | head -c {_SAMPLE}M > /dev/shm/sample", timeout=300)
            source = f"n=0; while [ $n -lt {more} ]; do cat /dev/shm/sample; n=$((n+{_SAMPLE})); done"
        shell.run(f"{{ {source}; }} | head -c {more}M >> /dev/shm/dirt", timeout=300)
    used = int(shell.run("awk '/MemTotal/ {t=$2} /MemFree/ {f=$2} END {print (t-f)*1024}' /proc/meminfo"))
    shell.close()
    return used
