"""Hours of a week as a site writes them, `mon-fri 17:00-07:00`, and until when they last, in local time.

Hours that end before they begin go on into the next day. All is reckoned on the wall clock, and only its ends are
turned into instants: on the nights when clocks change, an end that comes twice is its first time, a begin its second,
and what the clock leaps over is no later than the leap. So no mistake of an hour is at the owner's expense.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAILY = "daily"
_AHEAD = 8  # days: a week, and the hours that reach into its first day
_HOURS = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)-(?:([01]?\d|2[0-3]):([0-5]\d)|24:00)", re.ASCII)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_SYNTAX = (
    "hours are DAYS HH:MM-HH:MM, for instance `mon-fri 17:00-07:00`, `daily 00:00-24:00`, `2026-12-24 08:00-24:00`"
)


@dataclass(frozen=True)
class Hours:
    """The same hours on some days. `text` is how they were written; begin and end count from the day's midnight."""

    text: str
    weekdays: frozenset[int]
    day: date | None
    begin: timedelta
    end: timedelta

    def on(self, day: date) -> tuple[datetime, datetime] | None:
        """Their begin and end, on the wall clock, if they begin on this day."""
        if day != self.day and day.weekday() not in self.weekdays:
            return None
        midnight = datetime.combine(day, time())
        return midnight + self.begin, midnight + self.end


@dataclass(frozen=True)
class OpenHours:
    """Whether some hours are on, and when that changes: seconds since the epoch; None: not within a week."""

    is_open: bool
    changes: float | None


def parse(text: str) -> Hours:
    """Hours from their text. Raises ValueError that says how they are written."""
    days, _, hours = " ".join(text.split()).lower().partition(" ")
    match = _HOURS.fullmatch(hours)
    if not match:
        raise ValueError(_SYNTAX)
    begin = timedelta(hours=int(match[1]), minutes=int(match[2]))
    end = timedelta(hours=int(match[3]), minutes=int(match[4])) if match[3] else timedelta(days=1)
    if end == begin:
        raise ValueError(f"these hours have no length; a whole day is 00:00-24:00; {_SYNTAX}")
    if end < begin:
        end += timedelta(days=1)
    if _DATE.fullmatch(days):
        return Hours(text, frozenset(), _date(days), begin, end)
    return Hours(text, _weekdays(days), None, begin, end)


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"there is no day {text}") from None


def _weekdays(text: str) -> frozenset[int]:
    """From `mon`, `sat-sun`, `fri-mon` or `daily`. Raises ValueError."""
    if text == _DAILY:
        return frozenset(range(len(DAYS)))
    first, dash, last = text.partition("-")
    if first not in DAYS or (dash and last not in DAYS):
        raise ValueError(f"days are {', '.join(DAYS)}, a range of them, daily, or a date; {_SYNTAX}")
    begin, end = DAYS.index(first), DAYS.index(last or first)
    return frozenset((begin + step) % len(DAYS) for step in range((end - begin) % len(DAYS) + 1))


def opening(several: Iterable[Hours], now: datetime) -> OpenHours:
    """Whether one of these hours is on. `now` has its time zone, whose rules are heeded."""
    assert now.tzinfo is not None
    at, zone = now.timestamp(), now.tzinfo
    today = now.date()
    horizon = datetime.combine(today + timedelta(days=_AHEAD), time())
    for begin, end in _joined(_all(several, today)):
        first, last = _later(begin, zone), _earlier(end, zone)
        if at < first:
            return OpenHours(is_open=False, changes=first)
        if at < last:
            return OpenHours(is_open=True, changes=last if end < horizon else None)
    return OpenHours(is_open=False, changes=None)


def _all(several: Iterable[Hours], today: date) -> Iterator[tuple[datetime, datetime]]:
    """From yesterday, whose hours may reach into today, up to a week ahead."""
    days = [today + timedelta(days=number) for number in range(-1, _AHEAD)]
    return (found for hours in several for day in days if (found := hours.on(day)))


def _joined(intervals: Iterable[tuple[datetime, datetime]]) -> list[tuple[datetime, datetime]]:
    """Those that overlap or touch as one, on the wall clock: midnight is no gap, whatever the clock does there."""
    joined: list[tuple[datetime, datetime]] = []
    for begin, end in sorted(intervals):
        if joined and begin <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((begin, end))
    return joined


def _instants(wall: datetime, zone: tzinfo) -> tuple[float, float]:
    """A time on the wall clock as instants: two on the nights when the clock changes (PEP 495)."""
    return wall.replace(tzinfo=zone, fold=0).timestamp(), wall.replace(tzinfo=zone, fold=1).timestamp()


def _earlier(wall: datetime, zone: tzinfo) -> float:
    return min(_instants(wall, zone))


def _later(wall: datetime, zone: tzinfo) -> float:
    return max(_instants(wall, zone))
