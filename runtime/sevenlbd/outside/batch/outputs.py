"""Which files came back: plain ones below the job's folder, whatever the guest has made there beside them."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from fnmatch import translate
from pathlib import PurePosixPath

from ...base.errors import ExitCode, Refusal

_MOST_DEEP = 64  # folders; a guess: no program goes deeper on purpose


def check(pattern: str) -> None:
    """Raises Refusal for a pattern that leads out of the job's folder."""
    parts = PurePosixPath(pattern).parts
    if not parts or PurePosixPath(pattern).is_absolute() or ".." in parts or "\0" in pattern:
        what = f"--output {pattern}: leads out of the job's folder, or names nothing in it"
        raise Refusal(ExitCode.USAGE, what, hint="--output 'results/*.csv'")


def found(folder: int, patterns: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Name and size of each file that a pattern names; no link is followed, and none is named.

    `*` stands for what is in one folder, as in a shell; `**` for any number of folders. Neither stands for a name that
    begins with a dot: in a home these are programs' own, and a guest would say what runs there.
    """
    for pattern in patterns:
        check(pattern)
    wanted = [[_part(part) for part in PurePosixPath(pattern).parts] for pattern in patterns]
    for name, size in _plain(folder):
        parts = name.split("/")
        if any(_fits(parts, pattern) for pattern in wanted):
            yield name, size


def _part(part: str) -> re.Pattern[str] | None:
    if part == "**":
        return None
    return re.compile(("" if part.startswith(".") else r"(?!\.)") + translate(part), re.DOTALL)


def _fits(parts: Sequence[str], pattern: Sequence[re.Pattern[str] | None]) -> bool:
    """By the set of places in the pattern that may be next: a hostile name costs no more than its length."""
    at = _beyond({0}, pattern)
    for part in parts:
        stepped = set()
        for place in at:
            if place < len(pattern):
                rule = pattern[place]
                if rule is None:
                    if not part.startswith("."):
                        stepped.add(place)
                elif rule.match(part):
                    stepped.add(place + 1)
        at = _beyond(stepped, pattern)
    return len(pattern) in at


def _beyond(places: set[int], pattern: Sequence[re.Pattern[str] | None]) -> set[int]:
    """The same places, and those behind a `**`, which may stand for no folder."""
    every = set(places)
    for place in range(len(pattern)):
        if place in every and pattern[place] is None:
            every.add(place + 1)
    return every


def _plain(folder: int) -> Iterator[tuple[str, int]]:
    for at, folders, files, descriptor in os.fwalk(".", dir_fd=folder):
        below = PurePosixPath(at)
        if len(below.parts) >= _MOST_DEEP:
            folders.clear()
        folders.sort()
        for name in sorted(files):
            try:
                status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            except OSError:
                continue
            if stat.S_ISREG(status.st_mode):
                yield str(below / name), status.st_size
