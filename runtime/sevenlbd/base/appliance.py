"""Whether the SIF that we run from can still be read: it goes with the process that mounted it."""

from __future__ import annotations

import errno
import os

_GONE = "the appliance's SIF cannot be read any more: the process that mounted it has ended"


def gone(ours: str = __file__) -> OSError | None:
    """What an import that failed means, when our own files cannot be read either; None when they can."""
    try:
        os.close(os.open(ours, os.O_RDONLY | os.O_CLOEXEC))
    except OSError:
        return OSError(errno.ENOTCONN, _GONE)
    return None
