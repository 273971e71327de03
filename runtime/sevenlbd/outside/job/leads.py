"""How long before a job's end a session is told of it, and begins its own."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from ...base.errors import ExitCode, Refusal
from ...base.units import duration
from ..saved import estimate

if TYPE_CHECKING:
    from ...config.settings import Settings
    from ...images.description import Description

# What comes after the guest's own shutdown: QMP's quit, a kill, the end of the namespace, the folder's removal.
AFTER_GUEST_SECONDS = 10.0
MOST_SIGNAL = 65535
"""Seconds; sbatch(1), --signal."""
USERS_PART = 2
"""Of what a job has beside its shutdown one half is its user's, however long it is reckoned to take to suspend the
desktop: a guess, since that errs on the long side."""


def suspends(settings: Settings, image: Description | None) -> bool:
    """Whether a desktop is suspended at its end. What is set beats what the image says, which may not be known."""
    says = settings.at_end if settings.at_end != "image" else image.at_end if image else ""
    return says == "suspend"


def least(settings: Settings, *, suspending: bool) -> float:
    """Seconds that are told ahead in any case: what is set, and what it takes to shut down what was not suspended."""
    return max(settings.signal_lead, settings.stop_grace + AFTER_GUEST_SECONDS if suspending else 0.0)


def to_suspend(needed: float, shutdown: float, lasts: float) -> float:
    """Of the seconds needed to be suspended, those that a job has which `lasts` so many, before those of its shutdown.

    What is not written in them is shut down in order.
    """
    return max(min(needed, (lasts - shutdown) / USERS_PART), 0.0)


def of_signal(settings: Settings, image: Description | None, memory: int, folder: Path | None, lasts: float) -> int:
    """For the scheduler's signal: long enough to be suspended, if it shall be, and else shut down. Whole seconds.

    `memory` in bytes; `folder` has the user's saved desktops, and how long it took the last time; the job `lasts` so
    many seconds. Raises Refusal for a job that would be asked to end as it begins. Source: sbatch(1), --signal.
    """
    suspending = suspends(settings, image)
    lead = least(settings, suspending=suspending)
    check(settings, lead, lasts)
    if suspending:
        shutdown = settings.stop_grace + AFTER_GUEST_SECONDS
        suspension = to_suspend(estimate.seconds(memory, folder), shutdown, lasts)
        lead = max(lead, min(suspension + shutdown, MOST_SIGNAL))
    return math.ceil(lead)


def check(settings: Settings, lead: float, lasts: float) -> None:
    """Raises Refusal for what `least` says, where a job of so many seconds would be asked to end as it begins."""
    name = "signal_lead" if lead == settings.signal_lead else "stop_grace"
    what = f"the job has {duration(lasts)}, and would be told of its end {duration(lead)} before (`{name}`)"
    if lead >= lasts:
        what += ": it would be asked to end as it begins"
        raise Refusal(ExitCode.USAGE, what, hint=f"more time (--time, `max_hours`), or a shorter `{name}`")
    if lead > MOST_SIGNAL:
        raise Refusal(ExitCode.USAGE, f"{what}: Slurm takes {MOST_SIGNAL} s at most", hint=f"a shorter `{name}`")
