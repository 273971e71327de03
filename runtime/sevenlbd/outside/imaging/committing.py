"""A child that was worked on, and the version below it, become a new version."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ...base.errors import ExitCode, Refusal
from ...images import description, layout, names, qcow2
from ...images.lookup import image as images
from ...images.lookup.image import Image, ImageLayer
from ...images.names import Reference
from ...images.repository.maintenance import Maintenance, MaintenanceRecord
from ...images.repository.versions import Repository
from ..cli.command import CommandContext, say
from . import flatten


def refuse_taken(repository: Repository, ref: Reference) -> None:
    """A version that is there already, and a name that none can have. Raises Refusal."""
    names.check_version(ref.version)
    if repository.has(ref):
        what = f"{ref} exists already, and a version is never changed"
        raise Refusal(ExitCode.IMAGE, what, hint="choose another: --commit VERSION")


def commit(
    context: CommandContext,
    repository: Repository,
    kept: Maintenance,
    record: MaintenanceRecord,
    version: str,
    *,
    publish: bool,
) -> int:
    """Make a version of the maintenance and the version below it. Until that is there, the maintenance is kept."""
    name = kept.home.name
    new = Reference(name, version)
    if not record.clean and not context.options.force:
        what = f"the guest of the child of {name}@{record.base} was not shut down, so its disk is as after a power cut"
        hint = f"start it again and shut it down: 7lbd image maintain {name}; or --commit {version} --force"
        raise Refusal(ExitCode.IMAGE, what, hint=hint)
    base = images.from_folder(repository.folder(Reference(name, record.base)))
    _check_disk(kept, base)
    with repository.staged(name, version) as staging:
        layers = [ImageLayer(kept.disk, "qcow2"), *base.layers]
        flatten.flatten(layers, staging / layout.DISK, f"making {new}")
        changes = {"name": name, "version": version, "disk": layout.DISK, "format": "qcow2", "variables": ""}
        if kept.variables.exists():
            shutil.copyfile(kept.variables, staging / layout.VARIABLES)
            changes["variables"] = layout.VARIABLES
        text = description.text(base.description.model_copy(update=changes))
        (staging / layout.DESCRIPTION).write_text(text)
    kept.discard()
    say(f"{new} is made of {name}@{record.base} and what was done to it")
    if publish:
        repository.publish(name, version)
        say(f"{new} is current: new sessions get it")
    else:
        say(f"let new sessions get it: 7lbd image publish {new}")
    return ExitCode.OK


def _check_disk(kept: Maintenance, base: Image) -> None:
    """The guest's QEMU wrote this file: only its blocks are believed. Raises Refusal."""
    try:
        header = qcow2.read(kept.disk)
    except (qcow2.HeaderError, OSError) as error:
        what = f"{kept.disk}: is not usable any more: {error}"
        raise Refusal(ExitCode.IMAGE, what, hint="discard it: --discard") from None
    below = os.fsdecode(header.backing_file.encode("utf-8", "surrogateescape"))
    if header.size != base.size or Path(below).name != base.layers[0].path.name:
        what = f"{kept.disk}: says that it is another disk than it was made as"
        raise Refusal(ExitCode.IMAGE, what, hint="discard it: --discard")
