"""Images that the site's keys must vouch for: the check before a session, and what it tells while it reads."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace

from ....base.errors import ExitCode, Refusal
from ....base.paths import is_folder
from ....config import sources
from ....config.settings import Settings
from ....images import image_lock
from ....images.arrival import approved
from ....images.cache import node_cache as copies
from ....images.lookup import image as images
from ....images.lookup.image import Image
from ....images.signing import signature, verified
from ...console import progress_bar


def checked(
    settings: Settings, image: Image, environment: Mapping[str, str], key: bytes | None = None
) -> tuple[Image, dict[str, image_lock.Identity]]:
    """The image once more, read after a trusted key has vouched for all of it, and every file that it vouched for.

    `key` is that of images that lie encrypted here.
    Raises Refusal when the image is unsigned, altered, or signed by somebody else.
    """
    if image.folder is None:
        whose = "this site requires signed images" if settings.require_signed else "a signed image is asked for"
        what = f"{image.layers[0].path}: is a bare disk, which cannot be signed, and {whose}"
        raise Refusal(ExitCode.IMAGE, what, hint="7lbd image add makes a version of it, and sign signs that")
    memory = verified.memory_file(environment)
    cache = sources.image_cache(settings)
    # Whoever else filled it is not told from root in Apptainer's user namespace: the site must vouch for it.
    vouched = (
        cache is not None and is_folder(cache) and (settings.image_cache_trusted or cache.stat().st_uid == os.getuid())
    )
    arrived = copies.arrived(cache, image.folder) if cache and vouched else None
    identities = approved.check(image.folder, _keys(settings), memory, key, progress_bar.shown, arrived)
    device = image.folder.stat().st_dev
    # From here on nothing counts that was read before.
    again = replace(images.from_folder(image.folder, key), name=image.name, version=image.version)
    return again, {str(image.folder / name): (device, *identity) for name, identity in identities.items()}


def _keys(settings: Settings) -> tuple[str, ...]:
    """Whose signature counts: `signed_by` narrows what the site trusts, and never widens it. Raises Refusal."""
    if not settings.signed_by:
        return settings.trusted_keys
    named = signature.trusted(settings.signed_by)
    if not settings.require_signed:
        return named
    trusted = signature.trusted(settings.trusted_keys)
    both = tuple(key for key in named if key in trusted)
    if not both:
        what = f"none of the keys of signed_by is trusted by this site (trusted_keys: {', '.join(trusted) or 'none'})"
        raise Refusal(ExitCode.IMAGE, what, hint="name another key, or ask the site")
    return both
