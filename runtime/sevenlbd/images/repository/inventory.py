"""What a repository holds, for people and programs: each version with its size, its state and its place."""

from __future__ import annotations

import stat
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ...base.errors import Refusal
from .. import description, warm
from ..layout import DESCRIPTION, SIGNATURE
from ..names import Reference
from . import acceptances
from .versions import Repository

_MAX_SIGNATURE = 4096  # bytes; three or four lines of text


@dataclass(frozen=True)
class InventoryPart:
    """A file of a version. Both sizes in bytes: what it seems, and what it takes on the disk."""

    name: str
    apparent: int
    allocated: int


@dataclass(frozen=True)
class Item:
    """A version of an image; without a version, an image that is a folder of its own."""

    name: str
    version: str
    current: bool
    made: str
    apparent: int
    allocated: int
    warm: str
    signer: str
    folder: str
    evaluation_ends: str
    """The last day of an evaluation of Windows; empty for everything else."""
    accepted: str
    """What its acceptance came to, `passed` or `failed`; empty when there was none."""


def items(folders: Sequence[Path], name: str = "") -> list[Item]:
    """Everything in `folders`, or all versions of one image; the oldest version of each first."""
    versions = []
    for folder in folders:
        repository = Repository(folder)
        for each in repository.names():
            if name in ("", each):
                versions += _of(repository, each)
    return sorted(versions, key=lambda item: item.name)


def item(repository: Repository, ref: Reference, current: str) -> Item:
    """One version. Raises Refusal when it is not there."""
    folder = repository.folder(ref)
    measured = parts(folder)
    made = (folder / DESCRIPTION).stat().st_mtime
    return Item(
        name=ref.name,
        version=ref.version,
        current=ref.version == current,
        made=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(made)),
        apparent=sum(part.apparent for part in measured),
        allocated=sum(part.allocated for part in measured),
        warm=_warm(folder),
        signer=signer(folder),
        folder=str(folder),
        evaluation_ends=_evaluation_ends(folder),
        accepted=_accepted(repository, ref),
    )


def parts(folder: Path) -> list[InventoryPart]:
    """Every file of a version."""
    files = []
    for path in sorted(folder.rglob("*")):
        with suppress(OSError):
            status = path.lstat()
            if not stat.S_ISDIR(status.st_mode):
                files.append(InventoryPart(str(path.relative_to(folder)), status.st_size, status.st_blocks * 512))
    return files


def signer(folder: Path) -> str:
    """The public key that is said to have signed it, unproved (7lbd image verify proves it); empty when nobody has."""
    try:
        with (folder / SIGNATURE).open("rb") as file:
            lines = file.read(_MAX_SIGNATURE).decode("ascii", "replace").splitlines()
    except OSError:
        return ""
    return lines[1][:80] if len(lines) > 1 else "unreadable"


def _accepted(repository: Repository, ref: Reference) -> str:
    record = acceptances.read(repository.path / ref.name, ref.version) if ref.version else None
    return "" if record is None else "passed" if record.passed else "failed"


def _evaluation_ends(folder: Path) -> str:
    with suppress(Refusal):  # a version that is broken is listed all the same
        return description.read(folder / DESCRIPTION).evaluation_ends
    return ""


def _of(repository: Repository, name: str) -> list[Item]:
    current = ""
    with suppress(Refusal):
        current = repository.current(name)
    references = [Reference(name, version) for version in repository.versions(name)]
    if not current and repository.is_bare(name):
        references.insert(0, Reference(name))
    versions = []
    for ref in references:
        with suppress(Refusal, OSError):  # one that is removed meanwhile
            versions.append(item(repository, ref, current))
    return versions


def _warm(folder: Path) -> str:
    """What the warm state needs, in a few words; empty without one."""
    try:
        state = warm.read(folder)
    except warm.WarmError as error:
        return f"broken: {error}"
    if state is None:
        return ""
    return f"QEMU {state.needs.qemu}, {state.needs.machine}, {state.needs.accel}, CPU model {state.needs.cpu}"
