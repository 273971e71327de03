"""What a measurement is: samples taken in turns, told by their median. Knows nothing of the appliance."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Figure:
    """One line of the table: a quantity, its samples, and the most or the least that it may be, if that is promised."""

    name: str
    unit: str
    samples: tuple[float, ...]
    limit: float | None = None
    note: str = ""
    least: float | None = None

    @property
    def value(self) -> float:
        """The median."""
        return statistics.median(self.samples)

    @property
    def holds(self) -> bool | None:
        """Whether the promise is kept; None where nothing is promised."""
        if self.limit is None and self.least is None:
            return None
        return (self.limit is None or self.value <= self.limit) and (self.least is None or self.value >= self.least)

    def record(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {**asdict(self), "value": self.value, "holds": self.holds}


@dataclass
class Bench:
    """A run of one bench: how thorough it shall be, whom it tells its progress, and what it found."""

    quick: bool
    tell: Callable[[str], None]
    figures: list[Figure] = field(default_factory=list)
    so_often: int = 0
    """The number of rounds that was asked for; 0 for each bench's own."""

    def rounds(self, thorough: int, quick: int = 1) -> int:
        """How often to measure."""
        return self.so_often or self.amount(thorough, quick)

    def amount(self, thorough: int, quick: int) -> int:
        """How much one round takes on."""
        return quick if self.quick else thorough

    def in_turns(self, variants: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
        """Measure A B A B ...: what disturbs the machine for a while disturbs both sides alike."""
        taken: dict[str, list[T]] = {name: [] for name in variants}
        for number in range(rounds):
            for name, measured in variants.items():
                self.tell(f"{name}, {number + 1} of {rounds}")
                taken[name].append(measured())
        return taken

    def add(self, name: str, unit: str, samples: list[float], *, limit: float | None = None, note: str = "") -> None:
        """A figure for the table."""
        self.figures.append(Figure(name, unit, tuple(samples), limit, note))

    def compare(
        self, name: str, above: list[float], below: list[float], note: str = "", *, least: float | None = None
    ) -> None:
        """The ratio of two quantities, taken round by round; `least` is what is promised."""
        ratios = tuple(a / b for a, b in zip(above, below, strict=True))
        self.figures.append(Figure(name, "times", ratios, note=note, least=least))


def table(benches: Mapping[str, list[Figure]]) -> str:
    """The figures as text: name, median, spread, number of samples, what is promised."""
    rows = [("", "median", "from .. to", "n", "promised", "")]
    for bench, figures in benches.items():
        rows += [(bench, "", "", "", "", "")]
        rows += [(f"  {figure.name}", *_columns(figure)) for figure in figures]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = []
    for name, *middle, note in rows:
        cells = [cell.rjust(width) for cell, width in zip(middle, widths[1:], strict=True)]
        lines.append("  ".join([name.ljust(widths[0]), *cells, note]).rstrip())
    return "\n".join(lines)


def _columns(figure: Figure) -> tuple[str, str, str, str, str]:
    spread = f"{_spell(min(figure.samples))} .. {_spell(max(figure.samples))}" if len(figure.samples) > 1 else ""
    promised = ""
    for sign, bound in (("<=", figure.limit), (">=", figure.least)):
        if bound is not None:
            promised = f"{sign} {_spell(bound)} {'holds' if figure.holds else 'MISSED'}"
    return f"{_spell(figure.value)} {figure.unit}", spread, str(len(figure.samples)), promised, figure.note


def _spell(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
