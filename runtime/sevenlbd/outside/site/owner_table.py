"""The site file's table `[owner]`: when machines that belong to somebody are lent, and what is left to their owner."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from ...config.tables import Table, key
from ...config.value_kinds import Duration, Size, Words
from ..owner import hours
from ..owner.lending import Policy

_MOST_HOURS = 100  # a guess: a week and a year's holidays


def _hours(values: tuple[str, ...]) -> tuple[str, ...]:
    if len(values) > _MOST_HOURS:
        raise ValueError(f"more than {_MOST_HOURS} are more than anybody can mean")
    for value in values:
        hours.parse(value)
    return values


def _users(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if not value or not value.isprintable() or " " in value:
            raise ValueError("each is the name or number of a user")
    return values


HoursOfWeek = Annotated[Words, AfterValidator(_hours)]
Users = Annotated[Words, AfterValidator(_users)]


class OwnerTable(Table):
    """`[owner]`: machines that belong to somebody, and are lent to a pool: when, and what is left to their owner."""

    when_empty: HoursOfWeek = key(
        ("daily 00:00-24:00",),
        "When the pool may use the machine while nobody is logged in: days and hours, in local time, as "
        "`mon-fri 17:00-07:00`, `sat-sun 00:00-24:00` or `2026-12-24 08:00-24:00`; an empty list is never.",
        metavar="DAYS HH:MM-HH:MM",
    )
    when_used: HoursOfWeek = key(
        ("daily 17:00-07:00",),
        "When it may while somebody is logged in, by ssh, X, Wayland or at a console. At the end of these hours the "
        "work is off the machine.",
        metavar="DAYS HH:MM-HH:MM",
    )
    not_owners: Users = key(
        ("condor",), "Users whose log-ins do not count: those that the pool's work runs as.", metavar="USER"
    )
    idle: Duration = key(
        0,
        "A log-in at whose terminal nobody has typed for so long does not count; 0: each counts. One with a screen of "
        "its own counts for as long as it is there.",
        metavar="DURATION",
    )
    load: float = key(
        0,
        "Most load that the owner's own work may put on each CPU when the pool's begins; 0 is no limit.",
        metavar="LOAD",
        ge=0,
        allow_inf_nan=False,
    )
    memory: Size = key(2 << 30, "Memory that is left to the owner.", metavar="SIZE")
    cpus: int = key(0, "CPUs that are left to the owner.", metavar="N", ge=0)
    grace: Duration = key(
        600, "How long the pool's work may take, at most, until it has left the machine.", metavar="DURATION"
    )

    def policy(self) -> Policy:
        """The same for whoever decides by it."""
        return Policy(
            when_empty=tuple(map(hours.parse, self.when_empty)),
            when_used=tuple(map(hours.parse, self.when_used)),
            not_owners=self.not_owners,
            idle=self.idle,
            load=self.load,
            memory=self.memory,
            grace=self.grace,
        )
