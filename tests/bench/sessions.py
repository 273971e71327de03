"""Sessions of the real SIF that end with a `with`, timed from the exec of `apptainer`."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.session import harness
from tests.session.harness import Session

BUILD = harness.REPO / "build"


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder beside the images, so that their disks can be linked into it."""
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=BUILD))
    try:
        yield folder
    finally:
        harness.remove(folder)


def tree() -> list[str]:
    """Apptainer's options for the runtime and the pages of this tree, where BENCH_TREE asks for them."""
    if not os.environ.get("BENCH_TREE"):
        return []
    repo = harness.REPO
    binds = [f"{repo}/runtime/sevenlbd:/usr/lib/7lbd/sevenlbd", f"{repo}/build/web:/usr/share/7lbd/web"]
    return [word for bind in binds for word in ("--bind", bind)]


class Timed:
    """A session, and when the exec of `apptainer` was."""

    def __init__(self, session: Session, began: float) -> None:
        self.session = session
        self.began = began

    def phase(self, name: str, timeout: float = harness.READY_SECONDS) -> float:
        """Seconds from the exec of `apptainer` to a phase, waiting for it."""
        event = self.session.wait_phase(name, timeout)
        reached: float = event["started"] + event["phases"].get(name, 0.0)
        return reached - self.began


@contextmanager
def started(image: Path, *arguments: str) -> Iterator[Timed]:
    """A session of `image`; switched off at the end."""
    base = Path(tempfile.mkdtemp(prefix="7b-"))
    began = time.time()
    # No grace: the guest's own shutdown is not what is measured.
    session = harness.start("--image", str(image), "--stop-grace", "0", *arguments, base=base, options=tree())
    try:
        yield Timed(session, began)
        session.send(signal.SIGTERM)
        session.wait_end()
    finally:
        session.kill()
        shutil.rmtree(base, ignore_errors=True)
