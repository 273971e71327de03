"""A file replaced in one step: whoever reads it finds the old content or the new one, never half of either.

The only writer of states, secrets, certificates and records. What a killed or failed write leaves stands in nobody's
way, because each has a name of its own; and no name that somebody else has put there is followed or written to.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path


def replace(path: Path, content: bytes, *, lasting: bool = False) -> None:
    """Give `path` this content, mode 0600; with `lasting` so that it outlives a power cut. Raises OSError."""
    _replace(path, content, None, 0o600, lasting=lasting)


def replace_in(folder: int, name: str, content: bytes, mode: int = 0o600) -> None:
    """The same for a name in the folder of this descriptor, whatever has become of its path. Raises OSError."""
    _replace(Path(name), content, folder, mode, lasting=False)


def to_disk(path: Path) -> None:
    """Have a file, or the names in a folder, outlive a power cut, where the file system can. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # fsync(2): it cannot
            raise
    finally:
        os.close(descriptor)


def _replace(path: Path, content: bytes, folder: int | None, mode: int, *, lasting: bool) -> None:
    new = path.with_name(f".{path.name}.{os.urandom(8).hex()}.new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(new, flags, 0o600, dir_fd=folder)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            if mode != 0o600:
                os.fchmod(descriptor, mode)
            if lasting:
                file.flush()
                os.fsync(descriptor)
        os.replace(new, path, src_dir_fd=folder, dst_dir_fd=folder)
        if lasting:
            to_disk(path.parent)
    except BaseException:
        with suppress(OSError):
            os.unlink(new, dir_fd=folder)
        raise
