"""Files each way over the session's share, and how the guest sees it: drive, dialect, modes, zone, programs."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from ...base.errors import visible
from ...wire.keeper import GuestAnswer
from . import guest_scripts
from .criteria.evidence import GuestFacts, SessionRecord
from .criteria.observations import SharedFiles
from .examined_session import ExaminedSession

SHARE = "home"
"""The share that every image shows its user; an acceptance serves an empty folder by that name."""
_DOWN, _UP = "accept-down.bin", "accept-up.bin"
_FOLDER, _PROGRAM = "accept-folder", "accept-program.exe"
_USER_SCRIPT, _USER_FACTS = "accept-user.ps1", "accept-facts.txt"
_MIB, _QUICK_MIB = 1024, 32  # enough that no cache holds all of it; and what takes seconds where all is emulated
_PIECE = 1 << 20  # bytes
_SECONDS = 1800.0  # a gibibyte each way at two megabytes a second: an emulated guest's worst
_MAX_FACTS = 64 * 1024  # bytes; a guess: some dozens of lines


class ShareFiles:
    """A file down, and the same up again."""

    name = "files"
    quick = True

    def gather(self, session: ExaminedSession, record: SessionRecord) -> None:
        """Into `facts`: `files`, and for Windows `files_user`; into `more`: `files`."""
        try:
            self._gather(session, record)
        except OSError as error:
            record.facts["files"] = GuestFacts(failure=visible(f"the share cannot be used: {error.strerror or error}"))

    def _gather(self, session: ExaminedSession, record: SessionRecord) -> None:
        size = _QUICK_MIB if session.quick else _MIB
        with laid_out(session.shared, size, windows=session.windows) as down_digest:
            names = {"share": SHARE, "down": _DOWN, "up": _UP, "folder": _FOLDER, "program": _PROGRAM}
            if session.windows:
                names |= {"script": _USER_SCRIPT, "told": _USER_FACTS}
            record.facts["files"] = session.ask("files", seconds=_SECONDS, **names)
            if session.windows:
                record.facts["files_user"] = guest_scripts.facts(_told(session.shared / _USER_FACTS))
            up, folder = session.shared / _UP, session.shared / _FOLDER
            modes = [_mode(path) for path in (up, folder)]
            record.more["files"] = SharedFiles(size << 20, down_digest, digest_of(up, size << 20), modes[0], modes[1])


@contextmanager
def laid_out(folder: Path, size: int, *, windows: bool) -> Iterator[str]:
    """A file of `size` MiB in the share, and what the guest's user runs; gives its digest. All is gone in the end."""
    try:
        digest = hashlib.sha256()
        with (folder / _DOWN).open("xb") as file:
            for _ in range(size):
                piece = os.urandom(_PIECE)
                digest.update(piece)
                file.write(piece)
        if windows:
            names = {"share": SHARE, "down": _DOWN, "up": _UP, "folder": _FOLDER, "program": _PROGRAM}
            with (folder / _USER_SCRIPT).open("xb") as file:
                file.write(guest_scripts.script("files-user", names, windows=True))
        yield digest.hexdigest()
    finally:
        for path in list(folder.iterdir()):
            if path.name.startswith("accept-"):
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() and not path.is_symlink() else path.unlink()


def _told(path: Path) -> GuestAnswer:
    """What the user's script has left, as if it had printed it: the guest's word, of whatever size."""
    try:
        with _opened(path) as file:
            return GuestAnswer(0, 0, file.read(_MAX_FACTS))
    except OSError:
        return GuestAnswer(0, failure="the user's part did not run: nobody was logged on, or the share is not there")


def digest_of(path: Path, size: int) -> str:
    """Of a file that the guest made; empty when there is none of just that size: it may make one of terabytes."""
    try:
        with _opened(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest() if os.fstat(file.fileno()).st_size == size else ""
    except OSError:
        return ""


def _opened(path: Path) -> BufferedReader:
    """For reading, and no link of the guest's making."""
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb")


def _mode(path: Path) -> int | None:
    try:
        return path.lstat().st_mode & 0o7777
    except OSError:
        return None
