"""What the machines have said of themselves, and sums of it. Kept in memory: each says it again within a minute."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from ..machine_report import Owner, Report, VmPhase

SILENT_POLLS = 4  # a machine that was not heard for so many of its polls is away
_FORGOTTEN = 7 * 86400.0  # seconds; a guess: what was said a week ago is nobody's interest


@dataclass(frozen=True)
class Heardof:
    """A machine's last report."""

    report: Report
    at: float


@dataclass(frozen=True)
class Totals:
    """Of all machines that are there."""

    machines: int
    lending: int
    owners: Mapping[Owner, int]
    slots: int
    vms: Mapping[VmPhase, int]
    vms_of: Mapping[str, int]
    """By image."""
    copies: Mapping[tuple[str, str], int]
    """How many machines hold a version whole."""


class Fleet:
    """All machines' reports."""

    def __init__(self, poll: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._silent, self._clock = poll * SILENT_POLLS, clock
        self._heard: dict[str, Heardof] = {}

    def note(self, machine: str, report: Report) -> None:
        """A machine has said this of itself."""
        self._heard[machine] = Heardof(report, self._clock())

    def forget(self, machine: str) -> None:
        """It is none of ours any more."""
        self._heard.pop(machine, None)

    def reports(self) -> Iterator[tuple[str, Report, float, bool]]:
        """Name, report, its age in seconds, and whether the machine is there, by name."""
        now = self._clock()
        for name in sorted(self._heard):
            age = now - self._heard[name].at
            if age > _FORGOTTEN:
                del self._heard[name]
                continue
            yield name, self._heard[name].report, age, age <= self._silent

    def totals(self) -> Totals:
        """As of now."""
        there = [report for _, report, _, present in self.reports() if present]
        vms = [vm for report in there for vm in report.vms]
        return Totals(
            machines=len(there),
            lending=sum(report.lends for report in there),
            owners=Counter(report.owner for report in there),
            slots=sum(report.slots for report in there),
            vms=Counter(vm.phase for vm in vms),
            vms_of=Counter(vm.image for vm in vms),
            copies=Counter(
                (held.name, held.version) for report in there for held in dict.fromkeys(report.images) if held.whole
            ),
        )
