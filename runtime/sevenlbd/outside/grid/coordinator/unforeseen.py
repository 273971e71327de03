"""A fault that nobody foresaw, in a thread of the coordinator's: the thread is told of as failed, and all else goes on.

Without that its last word never came: a VM that waits for ever, or a service that never asks its pool again. In the
main thread it ends the service, whose systemd begins it anew.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable

from ...console import terminal


def instead[T](work: Callable[[], T], failed: Callable[[str], T]) -> T:
    """What it comes to, or else what `failed` makes of the reason; the log has where it was."""
    try:
        return work()
    except Exception as error:
        terminal.say_on(*traceback.format_exc().splitlines(), error=True)
        return failed(f"a fault of 7lbd's: {type(error).__name__}: {error}")
