"""What the site's file gives to sessions: images, and folders for their users."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ...base import units
from ...base.errors import Refusal
from ...base.paths import is_folder, user_path
from ...config import sources
from ...images.lookup import image as images
from ...images.signing import signature
from ..egress.policy import decide
from ..folders import shares
from ..job.sizing import HELPERS_MEMORY
from .checked_site import CheckedSite, refused
from .doctor import Finding

_MORE_MEMORY = "give the job more, or describe the image as smaller: memory in its image.toml"


def of_images(site: CheckedSite) -> Iterator[Finding]:
    try:
        trusted = signature.trusted(site.settings.trusted_keys)
    except Refusal as refusal:
        yield refused("trusted_keys", refusal)
        trusted = ()
    images_in_use = dict.fromkeys([site.settings.image, *(name for name, _ in site.ondemand.choices())])
    for name in filter(None, images_in_use):
        yield from _image(site, name, trusted)
    for folder in site.settings.image_dirs:
        if not is_folder(user_path(folder)):
            text = f"{folder} is not a folder that the container shows"
            yield Finding("image_dirs", "error", text, f"make it, or show it: apptainer run --bind {folder} ...")


def _image(site: CheckedSite, name: str, trusted: tuple[str, ...]) -> Iterator[Finding]:
    check = f"image {name}"
    try:
        image = images.resolve(name, site.folders, sources.image_cache(site.settings))
        if site.settings.require_signed and image.folder:
            signature.check(image.folder, trusted)
    except Refusal as refusal:
        yield refused(check, refusal)
        return
    for way in sorted(set(image.description.egress) - {decide.ALL, *site.settings.egress_allow}):
        text = f"it asks for the way out `{way}`, which is not in egress_allow"
        yield Finding(check, "warning", text, "allow it, in the same words, or take it out of its image.toml")
    asks = site.settings.memory or image.description.memory
    yield Finding(check, "ok", f"{image.title}, {units.size(asks)} for the guest, {image.layers[0].path}")
    jobs = [(f"[ondemand] size `{size.title}`", size.memory) for size in site.ondemand.sizes if "ondemand" in site.said]
    jobs += [("[slurm]", site.slurm.memory)] if site.slurm.memory else []
    for what, memory in jobs:
        if memory < asks + HELPERS_MEMORY:
            text = f"{what} gives {units.size(memory)}; the guest takes {units.size(asks)}, its helpers "
            yield Finding(check, "error", f"{text}{units.size(HELPERS_MEMORY)}", _MORE_MEMORY)


def of_shares(site: CheckedSite) -> Iterator[Finding]:
    """The shares for all, and the folders that the portal's form offers."""
    for text in (*site.settings.shares, *site.ondemand.shares):
        try:
            share = shares.parse(text)
            yield Finding("shares", "ok", f"{share.name}: {share.path}")
        except Refusal as refusal:
            yield refused("shares", refusal)
    for root in site.ondemand.share_roots:
        if not is_folder(Path(root)):
            text = f"[ondemand] `share_roots`: {root} is not a folder that the container shows"
            yield Finding("shares", "error", text, f"add it to [slurm] binds, or: apptainer run --bind {root} ...")
