"""What is mounted in a tree, and where a folder shows in it: by its own name, by a link's target, by another mount.

Source: proc_pid_mountinfo(5).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ...base import mount_table

_ESCAPED = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True)
class Mount:
    """One mount: which file system, which part of it, and where that is seen."""

    device: str
    root: Path
    point: Path


def below(tree: Path) -> list[Mount]:
    """All that is mounted in `tree`, outer ones first."""
    return sorted((one for one in _mounts() if one.point.is_relative_to(tree)), key=lambda one: len(one.point.parts))


def holder(path: Path) -> Mount:
    """The mount that a path is on, links not followed. Of several on one another the last is the one that is seen."""
    candidates = enumerate(one for one in _mounts() if path.is_relative_to(one.point))
    return max(candidates, key=lambda pair: (len(pair[1].point.parts), pair[0]))[1]


def strangers(tree: Path, original: Path) -> Iterator[Mount]:
    """What in `tree`, a recursive bind of `original`'s folders, is mounted from elsewhere, outer ones first.

    `original` is a path on the file system that is no stranger; it is asked for under the root that we have now.
    """
    own = holder(original)
    base = own.root
    for part in reversed(own.point.parts[1:]):
        base = base.parent if base.name == part else base
    for one in below(tree):
        if (one.device, one.root) != (own.device, base / one.point.relative_to(tree)):
            yield one


def appearances(folder: Path, tree: Path) -> Iterator[Path]:
    """Every place in `tree` where `folder` is seen. Raises OSError."""
    real = folder.resolve()
    at = holder(real)
    in_there = at.root / real.relative_to(at.point)
    looked_for = real.stat()
    for one in below(tree):
        if one.device == at.device and in_there.is_relative_to(one.root):
            appearance = one.point / in_there.relative_to(one.root)
            with suppress(OSError):  # something else is mounted over it
                if os.path.samestat(appearance.stat(), looked_for):
                    yield appearance


def _mounts() -> Iterator[Mount]:
    for line in mount_table.lines():
        _, _, device, root, point, *_ = line.split(" ")
        yield Mount(device, _path(root), _path(point))


def _path(text: str) -> Path:
    """Spaces and the like are written as octal numbers."""
    return Path(_ESCAPED.sub(lambda match: chr(int(match[1], 8)), text))
