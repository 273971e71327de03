"""The verb `advertise`: this node's ClassAd, for STARTD_CRON: which images a desktop could start from here, now.

Nothing is remembered from call to call: each description and disk is opened, so that what was lost is not told.
Names of images are letters, digits and `._-` only (images/names.py), so a list of them needs no quoting.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ... import __version__
from ...base.errors import ExitCode, Refusal
from ...config import sources
from ...config.settings import Accel, Settings
from ...config.tables import checked
from ...images import warm
from ...images.lookup import image as images
from ...images.lookup import repositories
from ...images.lookup.image import Image
from ...images.names import Reference
from ...images.repository.versions import Repository
from ...images.warm import WarmError
from ..cli.command import Command, CommandContext
from ..cli.parser import Parser, options
from ..console import terminal
from ..folders import bases
from ..node import abilities
from ..owner import advertised
from ..schedulers import classad
from ..site.owner_table import OwnerTable

Attributes = Mapping[str, classad.Value | None]
"""None is `undefined`."""


@dataclass(frozen=True)
class Startable:
    """An image that could be started from here."""

    reference: Reference
    current: bool
    warm: bool


def advertise(context: CommandContext) -> int:
    """Print the ad; a dash ends it (HTCondor's manual, "Startd Cron")."""
    file, tables = sources.site_tables(context.here)
    owner = checked(OwnerTable, "owner", tables.get("owner", {}), file)
    kvm = abilities.kvm().ok
    found = list(_startable(context, kvm=kvm))
    attributes = {
        **of_images(found),
        **_of_node(context, kvm=kvm),
        **advertised.of_node(owner.policy()),
    }
    terminal.say(*(f"{name} = {written(value)}" for name, value in attributes.items()), "-")
    return ExitCode.OK


def written(value: classad.Value | None) -> str:
    """A value as ClassAds have it."""
    return "undefined" if value is None else classad.written(value)


def of_images(found: Sequence[Startable]) -> Attributes:
    """Lists, as stringListMember() takes them: a name alone is what is current, and each version NAME@VERSION."""
    current = [one for one in found if one.current]
    versions = [one for one in found if one.reference.version]
    return {
        "SevenLbdImages": ",".join(
            [*(one.reference.name for one in current), *(str(one.reference) for one in versions)]
        ),
        "SevenLbdImageVersions": ",".join(str(one.reference) for one in current if one.reference.version),
        "SevenLbdWarmImages": ",".join(one.reference.name for one in current if one.warm),
    }


def _of_node(context: CommandContext, *, kvm: bool) -> Attributes:
    base = bases.base(context.settings.session_dir, context.here.environment)
    return {
        "SevenLbdVersion": __version__,
        "SevenLbdKvm": kvm,
        "SevenLbdFreeSpace": abilities.free_space(base) >> 20,  # MiB
        "SevenLbdAdvertised": int(time.time()),
    }


def _startable(context: CommandContext, *, kvm: bool) -> Iterator[Startable]:
    """Every version that opens, and which of each image is the current one."""
    settings = context.settings
    if settings.accel is Accel.KVM and not kvm:
        return  # nothing starts here, whatever there is
    folders = context.folders
    for name in images.available(folders):
        current = Reference(name)
        with suppress(Refusal):
            current, _ = repositories.locate(Reference(name), folders)
        versions = {version for folder in folders for version in Repository(folder).versions(name)}
        for reference in dict.fromkeys([current, *(Reference(name, version) for version in sorted(versions))]):
            if opened := _opened(reference, settings, folders):
                is_warm = reference == current and fits(opened, settings, kvm=kvm)
                yield Startable(reference, reference == current, is_warm)


def _opened(reference: Reference, settings: Settings, folders: list[Path]) -> Image | None:
    """The image as a session would take it; None when it would be refused."""
    with suppress(Refusal, OSError):
        return images.resolve(str(reference), folders, sources.image_cache(settings))
    return None


def fits(image: Image, settings: Settings, *, kvm: bool) -> bool:
    """Whether the image has a warm state that goes on here, as far as that is the node's affair."""
    if not settings.warm or image.folder is None:
        return False
    try:
        state = warm.read(image.folder)
    except WarmError:
        return False
    if state is None:
        return False
    from ..session.preflight import warmth  # costs time, and most nodes have no such image

    accel = "kvm" if kvm and settings.accel is not Accel.TCG else "tcg"
    vendor = abilities.cpu_vendor() if accel == "kvm" else ""
    sizes = tuple(layer.path.stat().st_size for layer in image.layers)
    needs = state.needs
    return (needs.qemu, needs.accel, needs.vendor, needs.layers) == (warmth.qemu_version(), accel, vendor, sizes)


def _options(parser: Parser) -> None:
    options(parser, "image_dirs", "image_cache", "session_dir", "accel")


COMMANDS = {"advertise": Command(advertise, _options)}
