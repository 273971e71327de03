"""What a check is, and what it says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .evidence import Evidence


class JudgementKind(StrEnum):
    """What a check came to. What could not be found out is never `ok`."""

    OK = "ok"
    FAIL = "fail"
    CANNOT_TELL = "cannot tell"


@dataclass(frozen=True)
class Judgement:
    """What a check says. `says` is a sentence for people; `value` and `limit` are with their units."""

    kind: JudgementKind
    says: str
    value: str = ""
    limit: str = ""


def ok(says: str, value: str = "", limit: str = "") -> Judgement:
    """It is as it has to be."""
    return Judgement(JudgementKind.OK, says, value, limit)


def fail(says: str, value: str = "", limit: str = "") -> Judgement:
    """It is not."""
    return Judgement(JudgementKind.FAIL, says, value, limit)


def cannot_tell(why: str) -> Judgement:
    """It could not be found out."""
    return Judgement(JudgementKind.CANNOT_TELL, why)


@dataclass(frozen=True)
class Criterion:
    """One line of the report."""

    name: str
    """`group.what`, for instance `clock.cold`."""
    about: str
    """What is promised."""
    judge: Callable[[Evidence], Judgement]
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
    judgement: Judgement
