"""What lies hidden in an image's folder while somebody is at work there, and is removed when he was interrupted."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from ...base import heartbeat
from ..layout import MAKING, NEW, NEW_LINK, OLD
from . import readonly


def clear(home: Path) -> None:
    """Remove what nobody is at any more. The caller holds the lock of `home`. Raises OSError."""
    now = heartbeat.clock(home)
    for path in home.glob(".*"):
        if path.name.startswith(NEW_LINK):
            path.unlink(missing_ok=True)
        elif path.name.startswith(OLD):
            remove(path)
        elif path.name.startswith(NEW):
            beat = heartbeat.read(home / f"{MAKING}{path.name.removeprefix(NEW)}")
            if beat is None or heartbeat.is_stale(beat, now):
                remove(path)
        elif path.name.startswith(MAKING):
            beat = heartbeat.read(path)
            if beat and heartbeat.is_stale(beat, now):
                remove(home / f"{NEW}{path.name.removeprefix(MAKING)}")
                path.unlink(missing_ok=True)


def remove(folder: Path) -> None:
    """Remove a folder, if it is still there. Raises OSError."""
    with suppress(FileNotFoundError):
        readonly.remove(folder)
