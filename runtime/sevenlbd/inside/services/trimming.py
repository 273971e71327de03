"""The logs' size: a guest that prints without end must not fill the node's disk.

The folder is written to by processes that a guest may have taken over, so what lies in it is opened for what it is:
only a file is cut, never what a link leads to, and nothing that is found or missed there ends the watch.
"""

from __future__ import annotations

import asyncio
import logging
import os
import stat
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)

_MOST = 4 << 20  # bytes; docs/theory.md; more than a boot writes
_CHECK_SECONDS = 5.0  # what is written in between comes on top
# A link is not followed, and a pipe without a reader does not hold us up.
_CAREFULLY = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


async def keep_small(folder: Path) -> None:
    """Let each log in `folder` begin anew when it has grown too long, until cancelled."""
    while True:
        try:
            trim(folder)
        except OSError as error:
            log.warning("the logs' folder cannot be looked through: %s", error.strerror)
        await asyncio.sleep(_CHECK_SECONDS)


def trim(folder: Path) -> None:
    """Cut the files in `folder` that are too long. Raises OSError when the folder itself cannot be read."""
    with os.scandir(folder) as entries:
        for entry in entries:
            # One that has gone in the meantime, or is nobody's to cut, is no reason to leave the others.
            with suppress(OSError):
                if entry.stat(follow_symlinks=False).st_size > _MOST:
                    _cut(entry.path)


def _cut(path: str) -> None:
    descriptor = os.open(path, _CAREFULLY)
    try:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)
