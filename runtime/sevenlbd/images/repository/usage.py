"""Who uses a version, as far as can be seen from here: leases, a maintenance that is kept, and locks of this node."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from . import leases, maintenance


def users(repository: Path, name: str, version: str, folder: Path) -> list[str]:
    """Everybody who uses the version in `folder`, in words. Raises Refusal when the leases cannot be made sense of."""
    descriptions = [str(lease) for lease in leases.alive(repository) if (lease.name, lease.version) == (name, version)]
    if maintenance.base_of(repository / name) == version:
        descriptions.append(f"a child that is kept: 7lbd image maintain {name}")
    return descriptions or _locked(folder)


def _locked(folder: Path) -> list[str]:
    """Says so when somebody on this node holds a file of it locked, as sessions do (images/image_lock.py)."""
    for path in sorted(folder.rglob("*")):
        with suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return [f"somebody on this node, who holds {path.name} locked"]
            finally:
                os.close(descriptor)
    return []
