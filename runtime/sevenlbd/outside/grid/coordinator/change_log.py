"""Every change with its reason: a line of JSON for programs, and a plain sentence for people."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from ....base.errors import visible


@dataclass(frozen=True)
class Change:
    """What became of what, and why."""

    subject: str
    """`vm NAME`, `image NAME@VERSION`, `pool`, `machine`."""
    what: str
    why: str = ""

    def line(self, at: float) -> str:
        """One line of JSON; `at` in seconds since the epoch."""
        shown = {name: visible(value) for name, value in asdict(self).items()}
        return json.dumps({"at": round(at, 3), **shown})

    def __str__(self) -> str:
        return visible(f"{self.subject}: {self.what}" + (f": {self.why}" if self.why else ""))
