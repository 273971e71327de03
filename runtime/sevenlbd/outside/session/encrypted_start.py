"""What an encrypted session begins with: an overlay that only its key opens, and the warm state in its own memory."""

from __future__ import annotations

import json
from pathlib import Path

from ...base.process import finish, python
from ...wire import shared_files
from .held_memory import Held
from .overlay_disk import refused
from .preflight.prepared import Prepared


async def made(prepared: Prepared, folder: Path, held: Held) -> str:
    """Make them; returns the overlay's path. Raises Refusal.

    A memory that is mapped from the image's file, as other sessions', could not be read when it is suspended.
    """
    plan, overlay = prepared.plan, folder / shared_files.OVERLAY
    copies: list[dict[str, object]] = []
    if warm := plan.warm:
        sizes = {warm.memory: plan.guest.memory, warm.state: prepared.warm_state_size}
        for path, name in ((warm.memory, shared_files.MEMORY), (warm.state, shared_files.STATE)):
            key = prepared.warm_keys.get(path, "")
            copies.append({"source": path, "key": key, "size": sizes[path], "into": held[str(name)].fileno()})
    order = {"path": str(overlay), "size": prepared.disk_size, "key": plan.disk_key, "copies": copies}
    try:
        command = python("sevenlbd.images.encryption.maker")
        descriptors = [file.fileno() for file in held.values()]
        await finish(command, stdin=json.dumps(order).encode(), pass_fds=descriptors)
    except RuntimeError as error:
        raise refused(folder, str(error).rpartition(": ")[2]) from None
    return str(overlay)
