"""A Linux that stands still in its boot: emulation rarely loses a processor's timer for good.

The kernel tells it itself, on the serial line (Linux, Documentation/RCU/stallwarn.rst). Nothing of the user's has begun
by then, so the machine is started anew. Seen with QEMU 10.0 and two processors on a busy node, never with KVM.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

_WORDS = b"kthread timer wakeup didn't happen"
# One may come of a node that had no time for the machine; the next comes 20 s later.
_ENOUGH = 2
_LOOK_SECONDS, _LOOK_BYTES = 2.0, 256 << 10

TOLD = "the guest's kernel stood still in its boot, as emulation rarely makes it: the machine was started anew"


async def mend_once(serial_log: Path, reset: Callable[[], Awaitable[None]]) -> None:
    """Wait until the kernel has stood still, and reset its machine. To be cancelled when the guest is up.

    `serial_log` is what the guest prints, and may be missing yet. Raises OSError when it cannot be read.
    """
    while _count(serial_log) < _ENOUGH:
        await asyncio.sleep(_LOOK_SECONDS)
    await reset()


def _count(serial_log: Path) -> int:
    try:
        with serial_log.open("rb") as file:
            return file.read(_LOOK_BYTES).count(_WORDS)
    except FileNotFoundError:
        return 0
