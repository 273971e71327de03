"""What a job waits for a guest: from its hand-in to its start, in one that waits, and in one that is started for it.

A pool of the real HTCondor, with nothing else in its queue; the guest's image is the worker's, warm and cold in turns.
"""

from __future__ import annotations

import importlib
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.session import harness

from .measure import Bench
from .sessions import scratch, tree

_PATIENCE = 900.0  # seconds, under emulation
_DESCRIPTION = """executable = /bin/true
transfer_executable = False
should_transfer_files = YES
request_cpus = 1
request_memory = 64MB
request_disk = 20MB
+vm_name = "worker"
"""


def run(bench: Bench) -> None:
    """In turns: the first job of a guest from its warm state and of one that boots, and the next job of each."""
    # The tests' modules call each other by their bare names, as pytest has them.
    sys.path.insert(0, str(Path(harness.__file__).parent))
    with scratch() as folder, _stand(folder) as stand:
        variants = {"warm": lambda: stand.started_for_it("--warm"), "cold": lambda: stand.started_for_it("--no-warm")}
        taken = bench.in_turns(variants, bench.rounds(5, 1))
    waiting = [first.next_one for runs in taken.values() for first in runs]
    bench.add("a guest that waits: job handed in to job running", "s", waiting, note="negotiated every 2 s")
    for name in variants:
        bench.add(
            f"a {name} start: job handed in, guest started, to job running", "s", [one.first for one in taken[name]]
        )
        bench.add(f"a {name} start: of that, to ready", "s", [one.ready for one in taken[name]])


@dataclass(frozen=True)
class Waited:
    """Seconds: of the job for which the guest was started, until that was ready, and of the job after it."""

    first: float
    ready: float
    next_one: float


@dataclass(frozen=True)
class Stand:
    """A site's network, a pool on its far side (tests/session/workers.py), and the image."""

    net: Any
    pool: Any
    image: Path
    options: list[str]
    folder: Path

    def started_for_it(self, how: str) -> Waited:
        """A job is handed in, then a guest is started; when it is done, another job."""
        base = self.folder / f"s{time.monotonic_ns()}"
        prefix = [*self.net.prefix, *_of_tests("workers").joining(self.folder, self.pool)]
        handed_in = time.time()
        job = self.pool.submit(_DESCRIPTION)
        words = ["--image", str(self.image), "--join", "/dev/fd/3", "--stop-grace", "0", how]
        session = harness.start(*words, base=base, prefix=prefix, options=[*self.options, *tree()])
        try:
            first = self._waited(job, handed_in)
            ready = session.wait_phase("ready", _PATIENCE)
            took: float = ready["started"] + ready["phases"]["ready"] - handed_in
            session.wait_event("worker", _PATIENCE, phase="idle")
            handed_in = time.time()
            return Waited(first, took, self._waited(self.pool.submit(_DESCRIPTION), handed_in))
        finally:
            session.kill()
            shutil.rmtree(base, ignore_errors=True)

    def _waited(self, job: str, handed_in: float) -> float:
        """HTCondor tells whole seconds."""
        self.pool.wait(job, timeout=_PATIENCE)
        return max(float(self.pool.ad(job, "JobCurrentStartExecutingDate")[0]) - handed_in, 0.0)


def _of_tests(name: str) -> Any:
    return importlib.import_module(name)


@contextmanager
def _stand(folder: Path) -> Iterator[Stand]:
    """All of it, up; the pool's folder has a short name, as it holds sockets."""
    workers, short = _of_tests("workers"), Path(os.environ.get("TMPDIR", "/tmp")) / f"7b-{os.getpid()}"
    (folder / "net").mkdir()
    try:
        with (
            _of_tests("sitenet").up(folder / "net") as net,
            workers.pool_beyond(net, short / "p") as pool,
        ):
            ways = [f"tcp://{workers.NAME}:{pool.port}"]
            options = _of_tests("ways").site_file(folder, egress_allow=ways)
            image = workers.warm_image(folder / "images" / "worker", net.prefix, options)
            yield Stand(net, pool, image, options, folder)
    finally:
        shutil.rmtree(short, ignore_errors=True)
