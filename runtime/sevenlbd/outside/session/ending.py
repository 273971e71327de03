"""When a session ends by itself, and what its user is told: the requested limit, the job's end, the walltime signal."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from ..job import leads
from .preflight.prepared import SessionOptions

# Slurm sends the walltime signal up to a minute early (sbatch(1), --signal); half a minute more for a busy node.
_EARLY_SECONDS = 90.0
_NOTHING_LEFT = 1.0  # seconds; nobody reads a notice in less

LAST_NOTICE = 60.0  # seconds before the end: enough to save, and too little to begin anything


def going_now(*, in_job: bool) -> str:
    """What the desktop's user is told when somebody else ends it."""
    why = "its job was cancelled, or its node is needed" if in_job else "it was told to by its node"
    return f"This desktop is being shut down now: {why}."


def _suspend_seconds(options: SessionOptions, lasts: float) -> float:
    """What is reckoned, as far as a job has it that `lasts` so many seconds; 0 when nobody knows."""
    if not options.suspend_seconds or not lasts:
        return options.suspend_seconds
    return leads.to_suspend(options.suspend_seconds, options.stop_grace + leads.AFTER_GUEST_SECONDS, lasts)


class Ending:
    """The moment at which the shutdown begins, as far as it is known, and the timers for it."""

    def __init__(self, started: float, options: SessionOptions, job_ends: float) -> None:
        """`started` and `job_ends` in seconds since the epoch; 0 when the scheduler does not say."""
        self._options = options
        self._job_ends = job_ends
        self.at = 0.0
        """When the shutdown begins; 0 when nobody knows of an end."""
        self.why = ""
        self.suspend_seconds = _suspend_seconds(options, job_ends - started if job_ends else 0.0)
        """What there is to be suspended at the end, in seconds; 0 when it is shut down then."""
        self._told = 0
        """How many of the notices that are due were given."""
        self._timers: list[asyncio.TimerHandle] = []
        if options.time_limit:
            self._no_later_than(started + options.time_limit, "its time is up")
        if job_ends:
            self._no_later_than(self._before(job_ends), "the job ends")

    def watch(self, tell: Callable[[], None], stop: Callable[[str], None]) -> None:
        """Have `tell` called when the user is to be told, and `stop(why)` when the shutdown is to begin."""
        self._tell, self._stop = tell, stop
        self._set_timers()

    def unwatch(self) -> None:
        """Call nobody any more."""
        for timer in self._timers:
            timer.cancel()
        self._timers = []

    def hasten(self) -> bool:
        """The walltime signal has come. Whether there is time left for anything but the shutdown.

        Where the scheduler has told the end, that holds, unless the signal is far too early for it: then it speaks of
        another end, a preemption's.
        """
        now, lead = time.time(), self._options.signal_lead
        ends = self._job_ends if 0 < self._job_ends - now <= lead + _EARLY_SECONDS else now + lead
        self._no_later_than(self._before(ends), "the job ends")
        self._told = 0
        self._set_timers()
        return self.at > now + _NOTHING_LEFT

    def notice(self) -> str:
        """What the user is to be told now; empty when that has been done, is not wanted, or is too early."""
        due = sum(self._until(seconds) <= 0 for seconds in self._notices()) if self.at else 0
        if due <= self._told:
            return ""
        self._told = due
        minutes = max(round((self.at - time.time()) / 60), 1)
        clock = time.strftime("%H:%M", time.localtime(self.at))
        in_time = f"in {minutes} minutes" if minutes > 1 else "in a minute"
        if self.suspend_seconds:
            return f"This desktop will be suspended at {clock}, {in_time}: {self.why}. It goes on later as it is then."
        return f"This desktop will be shut down at {clock}, {in_time}: {self.why}. Please save your work."

    def _before(self, job_ends: float) -> float:
        """What does not fit into the time to suspend is shut down in order, after it."""
        return job_ends - self.suspend_seconds - self._options.stop_grace - leads.AFTER_GUEST_SECONDS

    def _no_later_than(self, at: float, why: str) -> None:
        if not self.at or at < self.at:
            self.at, self.why = at, why

    def _notices(self) -> list[float]:
        """How long before the end the user is told: as the settings say, and once more when it is near."""
        first = self._options.end_notice
        return [first, LAST_NOTICE] if first > LAST_NOTICE else [first] if first else []

    def _until(self, seconds: float) -> float:
        """How long it is to so many seconds before the end."""
        return self.at - seconds - time.time()

    def _set_timers(self) -> None:
        self.unwatch()
        if not self.at:
            return
        loop = asyncio.get_running_loop()
        self._timers = [
            *(loop.call_later(max(self._until(seconds), 0.0), self._tell) for seconds in self._notices()),
            loop.call_later(max(self.at - time.time(), 0.0), self._stop, self.why),
        ]
