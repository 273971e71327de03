"""How long before a job's end a session is told of it, and begins its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..saved import estimate

if TYPE_CHECKING:
    from ...config.settings import Settings
    from ...images.description import Description

# What comes after the guest's own shutdown: QMP's quit, a kill, the end of the namespace, the folder's removal.
AFTER_GUEST_SECONDS = 10.0


def suspends(settings: Settings, image: Description | None) -> bool:
    """Whether a desktop is suspended at its end. What is set beats what the image says, which may not be known."""
    says = settings.at_end if settings.at_end != "image" else image.at_end if image else ""
    return says == "suspend"


def of_signal(settings: Settings, image: Description | None, memory: int, folder: Path | None) -> float:
    """For the scheduler's signal: long enough to be suspended, if it shall be, and else shut down.

    `folder` has the user's saved desktops, and how long it took the last time.
    """
    if not suspends(settings, image):
        return settings.signal_lead
    return max(settings.signal_lead, estimate.seconds(memory, folder) + settings.stop_grace + AFTER_GUEST_SECONDS)
