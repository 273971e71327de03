"""What a check is, and what it says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .evidence import Evidence


class Outcome(StrEnum):
    """What a check came to. What could not be found out is never `ok`."""

    OK = "ok"
    FAIL = "fail"
    CANNOT_TELL = "cannot tell"


@dataclass(frozen=True)
class Finding:
    """What a check says. `says` is a sentence for people; `value` and `limit` are with their units."""

    outcome: Outcome
    says: str
    value: str = ""
    limit: str = ""


def ok(says: str, value: str = "", limit: str = "") -> Finding:
    """It is as it has to be."""
    return Finding(Outcome.OK, says, value, limit)


def fail(says: str, value: str = "", limit: str = "") -> Finding:
    """It is not."""
    return Finding(Outcome.FAIL, says, value, limit)


def cannot_tell(why: str) -> Finding:
    """It could not be found out."""
    return Finding(Outcome.CANNOT_TELL, why)


@dataclass(frozen=True)
class Check:
    """One line of the report."""

    name: str
    """`group.what`, for instance `clock.cold`."""
    about: str
    """What is promised."""
    judge: Callable[[Evidence], Finding]
    """Looks at the evidence and at nothing else."""
    systems: tuple[str, ...] = ("windows", "linux")
    """Of which guests it is asked."""
    quick: bool = True
    """Whether `--quick` asks it, too."""

    @property
    def group(self) -> str:
        """The first word of its name."""
        return self.name.partition(".")[0]


@dataclass(frozen=True)
class Result:
    """A check and what it said."""

    check: str
    about: str
    finding: Finding
