"""What the overlay takes on the node's disk, when; and whether what the guest frees comes back."""

from __future__ import annotations

import time
from contextlib import suppress

from ...wire import shared_files
from .criteria.evidence import SessionRecord
from .examined_session import ExaminedSession

_BLOCK = 512  # bytes (stat(2), st_blocks)
_TRIM_MIB = 128  # more than a system writes by itself meanwhile
_SETTLE = 2.0  # seconds: QEMU punches holes when the guest's request is through
_SECONDS = 600.0  # a whole disk is trimmed, where everything is emulated


def taken(session: ExaminedSession) -> int | None:
    """Bytes of the node's disk that the overlay has now; None when it cannot be seen."""
    with suppress(OSError):
        return (session.folder / shared_files.OVERLAY).stat().st_blocks * _BLOCK
    return None


class Growth:
    """What it takes at one point of the course."""

    quick = True

    def __init__(self, when: str) -> None:
        self.when = when
        self.name = f"disk use after {when}"

    def gather(self, session: ExaminedSession, record: SessionRecord) -> None:
        """Into `more`: `overlay.WHEN`, in bytes."""
        now = taken(session)
        if now is not None:
            record.more[f"overlay.{self.when}"] = now


class Trim:
    """The guest writes, removes, and trims."""

    name = "trim"
    quick = True

    def gather(self, session: ExaminedSession, record: SessionRecord) -> None:
        """Into `facts`: `trim`; into `more`: `trim.before`, `trim.full`, `trim.after`, in bytes."""
        for occasion, phase in (("before", ""), ("full", "fill"), ("after", "free")):
            if phase:
                record.facts["trim"] = session.ask("trim", seconds=_SECONDS, phase=phase, size=str(_TRIM_MIB))
                time.sleep(_SETTLE)
            now = taken(session)
            if now is None or record.facts_of("trim").failure not in ("", "it was not asked"):
                return
            record.more[f"trim.{occasion}"] = now
