"""Leases: which version of an image is in use by which session, on this node or another.

A session writes one into `.leases` of the repository and renews it while it lives. The folder is everybody's to
write to (mode 1777), so a lease is a hint of a stranger's: it can keep a version from being removed, and nothing else.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ...base import heartbeat
from ...base.errors import ExitCode, Refusal
from ...base.heartbeat import Heartbeat
from .. import names
from ..layout import LEASE, LEASES

_MOST = 20_000  # a guess: far more than a site has sessions


@dataclass(frozen=True)
class Lease:
    """A version in use, and what its user says of himself."""

    name: str
    version: str
    beat: Heartbeat

    def __str__(self) -> str:
        return str(self.beat)


@contextmanager
def held(repository: Path, name: str, version: str, session: str) -> Iterator[None]:
    """Say that `session` uses a version, until the end. On a repository that is read-only to us, nothing is said."""
    folder = repository / LEASES
    path = folder / f"{name}@{version}@{secrets.token_hex(8)}{LEASE}"
    lease = heartbeat.kept(path, f"session {session}")
    try:
        prepare(repository)
        if not stat.S_ISDIR(folder.lstat().st_mode):
            raise NotADirectoryError(folder)
        lease.__enter__()
    except OSError:
        yield
        return
    try:
        yield
    finally:
        lease.__exit__(None, None, None)


def prepare(repository: Path) -> None:
    """Make the folder of leases, writable for everybody. Raises OSError when the repository is read-only to us."""
    folder = repository / LEASES
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
        folder.chmod(0o1777)


def alive(repository: Path) -> list[Lease]:
    """The leases that somebody stands behind. Raises Refusal when there are too many to be real."""
    return [lease for lease, stale in _all(repository) if not stale]


def sweep(repository: Path) -> int:
    """Remove stale leases, as far as we may; returns how many."""
    removed = 0
    folder = repository / LEASES
    now = heartbeat.clock(folder)
    for name in _entries(folder):
        beat = heartbeat.read(folder / name)
        if beat and heartbeat.is_stale(beat, now):
            with suppress(OSError):
                (folder / name).unlink()
                removed += 1
    return removed


def _all(repository: Path) -> Iterator[tuple[Lease, bool]]:
    folder = repository / LEASES
    now = heartbeat.clock(folder)
    for entry in _entries(folder):
        name, _, rest = entry.partition("@")
        version = rest.partition("@")[0]
        if entry.endswith(LEASE) and names.is_name(name) and names.is_version(version):
            beat = heartbeat.read(folder / entry)
            if beat:
                yield Lease(name, version, beat), heartbeat.is_stale(beat, now)


def _entries(folder: Path) -> list[str]:
    file_names: list[str] = []
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            file_names.append(entry.name)
            if len(file_names) > _MOST:
                what = f"{folder}: there are more than {_MOST} files in it, which cannot all be leases"
                raise Refusal(ExitCode.IMAGE, what, hint="see whose they are, and remove them: ls -l")
    return file_names
