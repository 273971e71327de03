"""What more was found of the first cold session than its scripts tell: visits, files, packets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ....base.errors import visible

_MAX_WORDS = 200  # characters of a client's complaint that people read


@dataclass(frozen=True)
class Visited:
    """What came of a visit (rdp_client/visit.py); `failure` says why nothing did."""

    told: dict[str, Any] = field(default_factory=dict)
    failure: str = ""

    @property
    def outcome(self) -> str:
        return str(self.told.get("outcome", "failed"))

    @property
    def by_nla(self) -> bool:
        """Whether the server asked who comes before it showed anything."""
        return self.told.get("network_level") is True

    @property
    def words(self) -> str:
        """Why it came to no more."""
        return visible(self.failure or str(self.told.get("words") or self.told.get("kind") or ""))[:_MAX_WORDS]

    def seconds(self, name: str) -> float | None:
        """One of the report's times."""
        value = self.told.get(name)
        return float(value) if isinstance(value, int | float) else None


@dataclass(frozen=True)
class SharedFiles:
    """What the node saw of it. Modes are None for what was not made."""

    size: int
    down_digest: str
    up_digest: str
    file_mode: int | None
    folder_mode: int | None


@dataclass(frozen=True)
class NetworkSeen:
    """What was seen; `failure` says why nothing was."""

    scanned: str = ""
    ports: tuple[int, ...] = ()
    seconds: float = 0.0
    packets: dict[str, int] = field(default_factory=dict)
    failure: str = ""
