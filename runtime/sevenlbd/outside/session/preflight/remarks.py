"""What the checks have to say to the user, beside a refusal."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Remarks:
    """Of one session, in the order in which they were found."""

    warnings: list[str] = field(default_factory=list)
    """What the user should mend, or count with."""
    notes: list[str] = field(default_factory=list)
    """What the user may like to know, and need not mend."""
