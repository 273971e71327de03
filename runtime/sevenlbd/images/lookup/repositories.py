"""Images looked up in several repositories, in order of preference."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ...base import heartbeat
from ...base.errors import ExitCode, Refusal
from ...base.paths import is_there
from ...config.settings import nearest
from .. import layout, names
from ..names import Reference
from ..repository.versions import Repository


def find(ref: Reference, folders: Sequence[Path]) -> Path:
    """The real version folder of an image in the first of `folders` that has it.

    Which version is current is said by the first that has it published; where that lies is another question: a
    cache, which comes first and publishes nothing, may hold it. Raises Refusal.
    """
    return locate(ref, folders)[1]


def locate(ref: Reference, folders: Sequence[Path]) -> tuple[Reference, Path]:
    """The same, with the version that it came to. Raises Refusal."""
    repositories = [Repository(folder) for folder in folders]
    if not ref.version:
        for repository in repositories:
            current = repository.current(ref.name)
            if current:
                ref = Reference(ref.name, current)
                break
            if repository.is_bare(ref.name):
                return ref, repository.folder(ref)
    holding = [repository for repository in repositories if repository.has(ref)]
    if holding:
        return ref, holding[0].folder(ref)
    raise absent(ref, folders, "is neither a file here nor a name in image_dirs")


def repository_of(ref: Reference, folders: Sequence[Path]) -> Repository:
    """The first repository that has the image, and the version if one is named. Raises Refusal with what is known."""
    names.check_name(ref.name)
    for folder in folders:
        if Repository(folder).has(ref):
            return Repository(folder)
    raise absent(ref, folders, f"is not in {', '.join(map(str, folders)) or 'any repository: image_dirs is empty'}")


def absent(ref: Reference, folders: Sequence[Path], why: str) -> Refusal:
    """The refusal of an image that is not there, with those that are."""
    known = known_in(folders)
    listed = ", ".join(known) or "none"
    names_known = [each.partition(" ")[0] for each in known]
    guess = "" if ref.name in names_known else nearest(ref.name, names_known)
    return Refusal(
        ExitCode.IMAGE,
        f"image `{ref}` {why} (known there: {listed}){guess}",
        hint="7lbd image list shows all; a folder of the node that the container does not show is added with: "
        "apptainer run --bind DIR ...",
    )


def owner(folder: Path) -> tuple[Path, Reference] | None:
    """The repository that a real version folder belongs to, and what it is called there; None for any other folder."""
    above = folder.parent.parent
    if names.is_name(folder.parent.name) and names.is_version(folder.name) and (above / layout.LEASES).is_dir():
        return above, Reference(folder.parent.name, folder.name)
    return None


def writable(folders: Sequence[Path]) -> Repository:
    """The first repository that we may write to, or could make. Raises Refusal when there is none."""
    for folder in folders:
        if may_write(folder):
            return Repository(folder)
    looked = ", ".join(map(str, folders)) or "nowhere: image_dirs is empty"
    raise Refusal(
        ExitCode.RESOURCES,
        f"there is no repository that {heartbeat.user_name()} may write to (looked at {looked})",
        hint="name one: --image-dir DIR",
    )


def may_write(folder: Path) -> bool:
    """Whether we may change a repository, or make it where there is none."""
    return os.access(folder if is_there(folder) else folder.parent, os.W_OK | os.X_OK)


def known_in(folders: Sequence[Path]) -> list[str]:
    """Every image in `folders` with its versions, for people: `win11 (2026.10, 2026.11 current)`."""
    known: dict[str, str] = {}
    for folder in folders:
        repository = Repository(folder)
        for name in repository.names():
            known.setdefault(name, _told(repository, name))
    return [known[name] for name in sorted(known)]


def _told(repository: Repository, name: str) -> str:
    current = ""
    with suppress(Refusal):
        current = repository.current(name)
    versions = [f"{each} current" if each == current else each for each in repository.versions(name)]
    return f"{name} ({', '.join(versions)})" if versions else name
