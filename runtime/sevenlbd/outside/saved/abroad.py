"""Desktops written elsewhere than into the user's folder: said there, so that what a killed writer leaves is found.

There is a note for each, with the folder that it is written to, locked for as long as its writer lives. Its name has
the node's: `/tmp` is another folder on each.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from ...base.errors import Refusal
from . import places

NOTES = "writing"
"""The folder in that of the saved desktops."""
_PLACE = "place"
_MOST = 16 << 10  # bytes; four of the longest paths (PATH_MAX)


@contextmanager
def noted(folder: Path | None, place: Path) -> Iterator[None]:
    """Say that a desktop is written into `place`, as long as this lasts. `folder` is the user's, if there is one.

    A home that is full or read-only keeps nobody from saving elsewhere: then it is not said.
    """
    with ExitStack() as stack:
        with suppress(OSError, Refusal):
            if folder and not _is_same(folder, place):
                _note(places.made(folder) / NOTES, place, stack)
        yield


def _is_same(folder: Path, place: Path) -> bool:
    return folder.exists() and folder.samefile(place)


def _note(notes: Path, place: Path, stack: ExitStack) -> None:
    notes.mkdir(mode=0o700, exist_ok=True)
    note, descriptor = places.locked_file(notes / _named())
    stack.callback(os.close, descriptor)
    stack.callback(_remove, note)
    os.write(descriptor, os.fsencode(place.absolute()))


def _remove(note: Path) -> None:
    with suppress(OSError):
        note.unlink()


def tidied(folder: Path) -> list[Path]:
    """Remove what killed writers left in the user's folder, and wherever else they wrote. Returns what is removed."""
    removed = places.remove_interrupted(folder)
    with suppress(OSError):
        for note in sorted((folder / NOTES).iterdir()):
            removed += _tidied_by(note)
    return removed


def _tidied_by(note: Path) -> list[Path]:
    """What a note leads to, as far as it is seen from here.

    It stays while there is somebody's file, while its folder is not seen, and when it is another node's. One of an
    older version names no node: it goes with what it led to.
    """
    removed: list[Path] = []
    with suppress(OSError), places.abandoned(note) as descriptor:
        name = note.name.rsplit(".", 2)[0].removeprefix(".")
        text = os.read(descriptor, _MOST)
        if text.startswith(b"/") and b"\0" not in text:  # one that was cut off before it was written has nothing
            place = Path(os.fsdecode(text))
            removed = places.remove_interrupted(place)
            list(place.iterdir())  # or it is not seen, and the note stays
            if places.under_way(place) or (name == _PLACE and not removed):
                return removed
        if name in {_named(), _PLACE}:
            note.unlink()
    return removed


def _named() -> str:
    return f"{_PLACE}@{os.uname().nodename}"
