"""Images that the site's keys must vouch for: the check before a session, and what it tells while it reads."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace

from ....base.errors import ExitCode, Refusal
from ....config import sources
from ....config.settings import Settings
from ....images import image_lock
from ....images.cache import node_cache as copies
from ....images.lookup import image as images
from ....images.lookup.image import Image
from ....images.signing import verified
from ...console import progress_bar


def checked(
    settings: Settings, image: Image, environment: Mapping[str, str]
) -> tuple[Image, dict[str, image_lock.Identity]]:
    """The image once more, read after a trusted key has vouched for all of it, and every file that it vouched for.

    Raises Refusal when the image is unsigned, altered, or signed by somebody else.
    """
    if image.folder is None:
        what = f"{image.layers[0].path}: is a bare disk, which cannot be signed, and this site requires signed images"
        raise Refusal(ExitCode.IMAGE, what, hint="7lbd image add makes a version of it, and sign signs that")
    memory = verified.memory_file(environment)
    cache = sources.image_cache(settings)
    # Whoever else filled it is not told from root in Apptainer's user namespace: the site must vouch for it.
    vouched = (
        cache is not None and cache.is_dir() and (settings.image_cache_trusted or cache.stat().st_uid == os.getuid())
    )
    arrived = copies.arrived(cache, image.folder) if cache and vouched else None
    identities = verified.ensure(image.folder, settings.trusted_keys, memory, progress_bar.shown, arrived)
    device = image.folder.stat().st_dev
    # From here on nothing counts that was read before.
    again = replace(images.from_folder(image.folder), name=image.name, version=image.version)
    return again, {str(image.folder / name): (device, *identity) for name, identity in identities.items()}
