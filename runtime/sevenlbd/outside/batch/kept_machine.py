"""One machine of several: an `exec --keep` that the program itself starts, and that takes one job at a time."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ...base import process
from ...base.errors import visible
from ..console import printed_events
from ..session import control

_LAST_WORDS = 5  # lines of one that did not become ready


class KeptMachine:
    """A machine on its way. Its folder is known when it is ready."""

    def __init__(self, running: process.Piped) -> None:
        self._running = running
        self._ready = threading.Event()
        self._words: list[str] = []
        self.folder: Path | None = None

    def listen(self) -> None:
        """Until it says no more: a thread's whole life."""
        assert self._running.stdout
        for said in printed_events.read(self._running.stdout):
            if isinstance(said, str):
                self._words.append(said)
            elif said.get("event") == "ready":
                self.folder = Path(str(said.get("folder")))
                self._ready.set()
            elif said.get("event") == "finished" and said.get("reason"):
                self._words.append(visible(str(said["reason"])))
            del self._words[:-_LAST_WORDS]
        self._ready.set()

    def wait(self) -> str:
        """Wait until it is ready. Returns why it will not be, or nothing."""
        self._ready.wait()
        if self.folder is not None:
            return ""
        return self._words[-1] if self._words else "it ended before it was ready"

    def end(self) -> None:
        """At once."""
        if self.folder is not None:
            with suppress(OSError, ValueError):
                control.send_stop(self.folder, now=True)
                return
        self._running.terminate()


@contextmanager
def started(words: Sequence[str]) -> Iterator[KeptMachine]:
    """A machine with these options of `exec`; it is gone when this ends."""
    command = [*process.python("sevenlbd"), "exec", *words, "--json"]
    with process.piped(command, environment=os.environ) as running:
        machine = KeptMachine(running)
        reader = threading.Thread(target=machine.listen, daemon=True)
        reader.start()
        try:
            yield machine
        finally:
            machine.end()
            reader.join()
