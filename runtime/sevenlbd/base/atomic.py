"""A file replaced in one step: whoever reads it finds the old content or the new one, never half of either.

The only writer of states, secrets, certificates and records. What a killed or failed write leaves stands in nobody's
way, because each has a name of its own; and no name that somebody else has put there is followed or written to.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def replace(path: Path, content: bytes, *, lasting: bool = False) -> None:
    """Give `path` this content, mode 0600; with `lasting` so that it outlives a power cut. Raises OSError."""
    new = path.with_name(f".{path.name}.{os.urandom(8).hex()}.new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            if lasting:
                file.flush()
                os.fsync(descriptor)
        new.replace(path)
    except BaseException:
        with suppress(OSError):
            new.unlink()
        raise
