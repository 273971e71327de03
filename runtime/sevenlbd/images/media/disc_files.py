"""Discs as files: ISO 9660 with Joliet and UDF, read and written by pycdlib. Knows nothing of what is on them.

Installation media keep their files in UDF (Windows' ISO 9660 part holds one README), in Joliet or in plain ISO 9660.
Names are found whatever their case, as Windows finds them. Sources: ECMA-119, ECMA-167, OSTA UDF 2.60.
"""

from __future__ import annotations

import io
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from ...base.errors import ExitCode, Refusal

if TYPE_CHECKING:
    import pycdlib

_MAX_ENTRIES = 100_000  # folders; a guess: Windows' own disc has some hundred
_TREES = ("udf_path", "joliet_path", "rr_path", "iso_path")


class Disc:
    """An open disc. Paths are as on Windows, from the root, with `/`; case does not matter."""

    def __init__(self, path: Path, iso: pycdlib.PyCdlib) -> None:
        self.path = path
        self._iso = iso
        self._tree = next(tree for tree, there in zip(_TREES, _has(iso), strict=True) if there)
        self._files = dict(self._walk())

    def _walk(self) -> Iterator[tuple[str, str]]:
        for count, (folder, _, names) in enumerate(self._iso.walk(**{self._tree: "/"})):
            if count > _MAX_ENTRIES:
                raise ValueError("it has too many folders")
            for name in names:
                whole = f"{folder.rstrip('/')}/{name}"
                yield _plain(whole), whole

    def __contains__(self, path: str) -> bool:
        return _plain(path) in self._files

    def read(self, path: str, size: int, offset: int = 0) -> bytes:
        """At most `size` bytes of a file from `offset` on. Raises KeyError when there is no such file."""
        with self._iso.open_file_from_iso(**{self._tree: self._files[_plain(path)]}) as file:
            file.seek(offset)
            return bytes(file.read(size) or b"")


def _has(iso: pycdlib.PyCdlib) -> tuple[bool, bool, bool, bool]:
    return iso.has_udf(), iso.has_joliet(), iso.has_rock_ridge(), True


def _plain(path: str) -> str:
    """A name as it is compared: lower case, without ISO 9660's version number and the dot of an empty extension."""
    return "/" + path.strip("/").partition(";")[0].rstrip(".").lower()


@contextmanager
def opened(path: Path) -> Iterator[Disc]:
    """The disc in the file `path`. Raises Refusal when it is none; so does whatever a broken one does to a reader."""
    import pycdlib  # only where discs are read: it takes longer than many a verb

    _check_file(path)
    try:
        with path.open("rb") as file:
            iso = pycdlib.PyCdlib()
            iso.open_fp(file)
            yield Disc(path, iso)
    except Refusal:
        raise
    except Exception as error:  # whatever a hostile file makes the library say
        reason = "it wants too much memory" if isinstance(error, MemoryError) else str(error) or type(error).__name__
        raise Refusal(
            ExitCode.IMAGE, f"{path}: cannot be read as an ISO: {reason}", hint="fetch it again, compare its checksum"
        ) from None


def _check_file(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        hint = (
            f"a folder of the node that the container does not show: apptainer run --bind {path.absolute().parent} ..."
        )
        raise Refusal(ExitCode.IMAGE, f"{path}: cannot be reached: {error.strerror}", hint=hint) from None
    if not stat.S_ISREG(mode):
        raise Refusal(ExitCode.IMAGE, f"{path}: is not a file", hint="name the ISO file")
    if not os.access(path, os.R_OK):
        raise Refusal(ExitCode.IMAGE, f"{path}: is not readable for you", hint=f"its owner can: chmod a+r {path}")


def write(target: Path, label: str, files: Mapping[str, bytes]) -> None:
    """Make a disc of `files` (path: content) at `target`, which must not exist: ISO 9660, Joliet and UDF, mode 0600.

    Raises OSError; half a disc is never left.
    """
    import pycdlib

    iso = pycdlib.PyCdlib()
    iso.new(interchange_level=3, joliet=3, udf="2.60", vol_ident=label)
    try:
        for folder in sorted({parent for path in files for parent in PurePosixPath(path).parents[:-1]}):
            iso.add_directory(_oldest(folder), joliet_path=f"/{folder}", udf_path=f"/{folder}")
        for path, content in sorted(files.items()):
            oldest = f"{_oldest(PurePosixPath(path))};1"
            iso.add_fp(io.BytesIO(content), len(content), oldest, joliet_path=f"/{path}", udf_path=f"/{path}")
        _save(iso, target)
    finally:
        iso.close()


def _save(iso: pycdlib.PyCdlib, target: Path) -> None:
    descriptor = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w+b") as file:
            iso.write_fp(file)
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def _oldest(path: PurePosixPath) -> str:
    """A name for ISO 9660 itself, which knows capitals, digits and `_` only."""
    return "/" + re.sub(r"[^A-Z0-9_./]", "_", str(path).upper())
