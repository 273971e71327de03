"""How far something long has come: a bar with rate and time left on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ...base import units
from ...base.errors import visible
from . import terminal

_LINE_SECONDS = 5.0  # in a job's output each line stays


@contextmanager
def shown(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Shows on standard error how much of `total` bytes is done; what it yields is told of every further piece."""
    if sys.stderr.isatty():
        with _bar(visible(what), total) as advance:
            yield advance
    else:
        yield _Lines(visible(what), total).told


@contextmanager
def counted(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """The same of things that are done one by one, each of which takes its time."""
    if not sys.stderr.isatty():
        yield _Count(visible(what), total).told
        return
    from rich import progress
    from rich.console import Console

    columns = (
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(visible(what), total=total)
        yield lambda done: bar.update(task, advance=done)


@contextmanager
def _bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    # Loading it takes longer than many a check.
    from rich import progress
    from rich.console import Console

    columns = (
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(),
        progress.TaskProgressColumn(),
        progress.DownloadColumn(binary_units=True),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, advance=done)


class _Lines:
    """Plain lines, for logs. Nothing is said of what is over at once."""

    def __init__(self, what: str, total: int) -> None:
        self._what = what
        self._total = total
        self._done = 0
        self._began = self._said = time.monotonic()

    def told(self, done: int) -> None:
        """Take note, and say so when it is time."""
        self._done += done
        now = time.monotonic()
        if now - self._said >= _LINE_SECONDS:
            self._said = now
            terminal.say(self._line(now - self._began), error=True)

    def _line(self, seconds: float) -> str:
        """`seconds` is how long it has taken so far."""
        rate = self._done / seconds
        left = f"{units.duration((self._total - self._done) / rate)} left" if self._done else "time left unknown"
        part = 100 * self._done // max(self._total, 1)
        return f"7lbd: {self._what}: {part} %, {rate / 2**20:.0f} MiB/s, {left}"


class _Count(_Lines):
    """The same of things that are counted."""

    def _line(self, seconds: float) -> str:
        left = f"{units.duration((self._total - self._done) * seconds / self._done)} left" if self._done else "begun"
        return f"7lbd: {self._what}: {self._done} of {self._total}, {left}"
