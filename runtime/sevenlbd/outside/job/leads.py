"""How long before a job's end a session is told of it, and begins its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..saved import estimate

if TYPE_CHECKING:
    from ...config.settings import Settings

# What comes after the guest's own shutdown: QMP's quit, a kill, the end of the namespace, the folder's removal.
AFTER_GUEST_SECONDS = 10.0


def of_signal(settings: Settings, memory: int, folder: Path | None) -> float:
    """For the scheduler's signal: long enough to be suspended, if it shall be, and else shut down.

    `folder` has the user's saved desktops, and how long it took the last time.
    """
    if settings.at_end != "suspend":
        return settings.signal_lead
    return max(settings.signal_lead, estimate.seconds(memory, folder) + settings.stop_grace + AFTER_GUEST_SECONDS)
