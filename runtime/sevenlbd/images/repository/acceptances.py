"""What an acceptance of a version came to: a record beside it, for whoever publishes or lists it.

It lies in the image's folder and not in the version's: a version is never changed, and may be signed.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ...base import atomic, foreign_files
from ...base.errors import visible
from ..layout import ACCEPTANCE

_MOST = 1 << 20  # bytes; a record has some fifty checks of a few hundred
_MOST_NAMES = 20  # in one line of a terminal


@dataclass(frozen=True)
class AcceptanceRecord:
    """What of it counts here."""

    passed: bool
    when: str
    quick: bool
    failed: tuple[str, ...]
    """Names of the checks that failed."""

    def __str__(self) -> str:
        kind = "quick, " if self.quick else ""
        if self.passed:
            return f"passed ({kind}{self.when})"
        return f"failed ({kind}{self.when}): {', '.join(self.failed)}"


def paths(home: Path, version: str) -> tuple[Path, Path]:
    """Record and report of a version of the image in `home`."""
    return home / f"{ACCEPTANCE}{version}.json", home / f"{ACCEPTANCE}{version}.md"


def write(home: Path, version: str, record: str, report: str) -> None:
    """Put both beside the version, in place of older ones. Raises OSError."""
    for path, text in zip(paths(home, version), (record, report), strict=True):
        atomic.replace(path, text.encode(), lasting=True)
        path.chmod(0o644)


def remove(home: Path, version: str) -> None:
    """With the version they go, too. Raises OSError."""
    for path in paths(home, version):
        path.unlink(missing_ok=True)


def read(home: Path, version: str) -> AcceptanceRecord | None:
    """The record; None where there is none, or none that can be read."""
    path, _ = paths(home, version)
    with suppress(OSError, ValueError, TypeError, AttributeError, KeyError, RecursionError):
        said = json.loads(foreign_files.read(path.parent, path.name, _MOST))
        if said.get("only"):
            return None  # some groups say nothing of the whole
        failed = [visible(str(row["name"])) for row in said["checks"] if row["outcome"] == "fail"]
        return AcceptanceRecord(
            said["passed"] is True, visible(str(said["when"])[:40]), said["quick"] is True, tuple(failed[:_MOST_NAMES])
        )
    return None
