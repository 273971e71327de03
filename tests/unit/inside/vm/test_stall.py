"""A machine that stands still is known by an interrupt that no look finds ended; it is then reset, and only then."""

from __future__ import annotations

import asyncio

import pytest
from sevenlbd.inside.vm import stall
from sevenlbd.inside.vm.stall import Interrupts

# What QEMU 10.0.13 said of a Debian that stood still.
DUMP = """dumping local APIC state for CPU 1

LVTT\t 0x000200ec active-hi edge                 periodic     Fixed  (vec 236)
ESR\t 0x00000000
ISR\t {service}
IRR\t {waiting}

APR 0x01 TPR 0x10 DFR 0x0f LDR 0x00 PPR 0xe0
"""
NONE: Interrupts = frozenset()
TIMER: Interrupts = frozenset({(1, 236)})
DISK: Interrupts = frozenset({(0, 34)})


@pytest.mark.parametrize(
    ("service", "waiting", "unended"),
    [
        ("236 ", "33 34 236 ", {236}),
        ("236 ", "33 34 ", set()),
        ("(none)", "236 ", set()),
        ("32 (level) 236 ", "32 (level) 236 ", {32, 236}),
        ("(none)", "(none)", set()),
    ],
)
def test_an_interrupt_in_service_that_waits_again_is_not_ended(service: str, waiting: str, unended: set[int]) -> None:
    assert stall.unended(DUMP.format(service=service, waiting=waiting)) == unended


@pytest.mark.parametrize(
    "dump", ["", "unknown command: 'info lapic'", "Local APIC state not available in-kernel irqchip\n"]
)
def test_whatever_else_is_said_shows_no_standstill(dump: str) -> None:
    assert stall.unended(dump) == frozenset()


def looks_before_the_reset(seen: list[Interrupts], monkeypatch: pytest.MonkeyPatch) -> int:
    """How often is looked before the machine is reset; 0 when it is not. Once `seen` is over, nothing is seen."""
    monkeypatch.setattr(stall, "_EVERY_SECONDS", 0.0)
    looks, resets = 0, []

    async def look() -> Interrupts:
        nonlocal looks
        looks += 1
        return seen[looks - 1] if looks <= len(seen) else NONE

    async def reset() -> None:
        resets.append(looks)

    async def watch() -> None:
        watching = asyncio.create_task(stall.mend_once(look, reset))
        await asyncio.wait([watching], timeout=0.2)
        watching.cancel()

    asyncio.run(watch())
    assert len(resets) <= 1
    return resets[0] if resets else 0


@pytest.mark.parametrize(
    ("seen", "looks"),
    [
        ([], 0),
        ([TIMER] * 3, 0),
        ([TIMER] * 4, 4),
        ([TIMER] * 40, 4),
        ([NONE, NONE] + [TIMER] * 4, 6),
        ([TIMER] * 3 + [NONE] + [TIMER] * 3, 0),
        ([TIMER, TIMER, DISK, DISK], 0),
        ([TIMER | DISK, TIMER, TIMER | DISK, TIMER], 4),
    ],
)
def test_four_looks_in_a_row_at_the_same_one_are_enough(
    seen: list[Interrupts], looks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert looks_before_the_reset(seen, monkeypatch) == looks
