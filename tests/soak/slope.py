"""Whether a row of samples grows: Mann and Kendall's test for a trend, and Sen's slope for how steep it is.

Both look at the order of values alone, so that neither a single spike nor how values are spread decides. Sources: Mann,
Econometrica 13 (1945); Kendall, Rank Correlation Methods (1975), with its correction for ties; Sen, JASA 63 (1968).
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

LEVEL = 0.01
"""So rarely is a flat row called growing."""
VISITORS_AN_HOUR = 1600
"""Of a soak: 227 turns of a session that lasts, each with seven visits."""
_WARM_UP = 0.2  # of the samples come before caches and pools have their size: a guess, looked at in figures
_LEAST_HOURS = 0.25  # a guess: before, what an hour would bring is made of noise
_MOST_SAMPLES = 600  # of more, evenly chosen ones: pairs grow with the square


@dataclass(frozen=True)
class Trend:
    """`probability` is how likely so much growth is of a flat row; `per_hour` its slope."""

    probability: float
    per_hour: float
    level: float
    """The samples' median."""
    hours: float
    """How long was looked."""

    @property
    def may_be_judged(self) -> bool:
        """Whether it was looked at for long enough."""
        return self.hours >= _LEAST_HOURS

    def grows(self, least: float) -> bool:
        """Whether it grows by more than `least` an hour, and not by chance."""
        return self.may_be_judged and self.probability < LEVEL and self.per_hour > least


def of(samples: Sequence[tuple[float, float]]) -> Trend:
    """The trend of samples (hours, value), without those of the warming up."""
    rows = sorted(samples)[round(len(samples) * _WARM_UP) :]
    rows = rows[:: max(1, -(-len(rows) // _MOST_SAMPLES))]
    if len(rows) < 4:
        return Trend(1.0, 0.0, rows[-1][1] if rows else 0.0, 0.0)
    pairs = [(a, b) for a, b in combinations(rows, 2) if b[0] > a[0]]
    score = sum((b[1] > a[1]) - (b[1] < a[1]) for a, b in pairs)
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in pairs]
    values = [value for _, value in rows]
    hours = rows[-1][0] - rows[0][0]
    return Trend(_probability(score, values), statistics.median(slopes), statistics.median(values), hours)


def _probability(score: int, values: Sequence[float]) -> float:
    """Of a score as high as this one, or higher, if nothing grows."""
    count = len(values)
    ties = sum(same * (same - 1) * (2 * same + 5) for same in Counter(values).values())
    variance = (count * (count - 1) * (2 * count + 5) - ties) / 18
    if variance <= 0:
        return 1.0
    towards = (score > 0) - (score < 0)
    return 0.5 * math.erfc((score - towards) / math.sqrt(2 * variance))
