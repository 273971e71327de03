"""Evaluations of Windows: the day on which one ends, counted from its installation, and how that is told.

Windows itself counts; what an image says is as good as the day on which it was installed. Source: Microsoft's
Evaluation Center: Windows Enterprise 90 days, Windows Server 180, and then a shut-down every hour.
"""

from __future__ import annotations

from datetime import date, timedelta

_CLIENT, _SERVER = timedelta(days=90), timedelta(days=180)
_SOON = timedelta(days=10)
"""When users are told: time enough for a new image."""


def ends(installed: date, *, server: bool) -> date:
    """The last day of an evaluation that is installed on that day."""
    return installed + (_SERVER if server else _CLIENT)


def told(last: date, today: date) -> str:
    """The day and what it means, for a line of a listing."""
    left = (last - today).days
    if left < 0:
        return f"ended on {last}: Windows shuts down every hour"
    when = f"in {left} days" if left > 1 else ("today", "tomorrow")[left]
    return f"ends {when}, on {last}; then Windows shuts down every hour"


def warning(last: date, today: date) -> str:
    """What a user is to know before a session: nothing while there is time."""
    return f"the image is an evaluation of Windows that {told(last, today)}" if last - today <= _SOON else ""
