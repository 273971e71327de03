"""A private folder for what is half made. It is gone in the end, also when somebody interrupts its very removal."""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_ENDS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


@contextmanager
def folder(prefix: str, parent: Path | None = None) -> Iterator[Path]:
    """A new folder (mode 0700) in `parent`, or where temporary files go. Raises OSError."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS)
    try:
        path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            yield path
        finally:
            signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS)
            shutil.rmtree(path, ignore_errors=True)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
