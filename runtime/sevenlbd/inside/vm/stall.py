"""A machine that stands still in its boot, as emulation rarely makes it: noticed, and started anew.

QEMU 10.0's emulation knows where a processor's write goes by a number in the memory map of the moment before
(`iotlb_to_section` in its system/physmem.c). While one processor moves a device's registers about, as every system
does at its boot, another's write can go astray. If that was the end of an interrupt, its timer never comes again.

The processor's local APIC shows it: an interrupt in service that never ends, and the same one waiting behind it
(Intel SDM volume 3, the chapter on the APIC: ISR and IRR). Nothing of the user's has begun by then.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable

Interrupts = frozenset[tuple[int, int]]
"""Processors, with the vectors that are in service there and wait again."""

# No system needs that long to end an interrupt, however busy the node is.
_LOOKS, _EVERY_SECONDS = 4, 3.0

TOLD = "the guest stood still in its boot, as emulation rarely makes it: the machine was started anew"


async def mend_once(look: Callable[[], Awaitable[Interrupts]], reset: Callable[[], Awaitable[None]]) -> None:
    """Look until a machine stands still, and reset it. To be cancelled when the guest is up."""
    same: Interrupts = frozenset()
    looks = 0
    while looks < _LOOKS:
        await asyncio.sleep(_EVERY_SECONDS)
        pending = await look()
        same = same & pending if looks else pending
        looks = looks + 1 if same else 0
    await reset()


def unended(dump: str) -> frozenset[int]:
    """The vectors in service and waiting again, in what QEMU's monitor says to `info lapic`."""
    service, waiting = (_vectors(dump, name) for name in ("ISR", "IRR"))
    return service & waiting


def _vectors(dump: str, register: str) -> frozenset[int]:
    line = re.search(rf"^{register}[ \t]+(.*)$", dump, re.MULTILINE)
    return frozenset(int(number) for number in re.findall(r"\d+", line.group(1))) if line else frozenset()
