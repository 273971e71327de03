"""Desktops written elsewhere than into the user's folder: said there, so that what a killed writer leaves is found.

There is a note for each, with the folder that it is written to, locked for as long as its writer lives.
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
    note, descriptor = places.locked_file(notes / "place")
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
    """What a note leads to. It stays while there is somebody's file, or its folder is not seen from here."""
    removed: list[Path] = []
    with suppress(OSError), places.abandoned(note) as descriptor:
        text = os.read(descriptor, _MOST)
        place = Path(os.fsdecode(text))
        if text.startswith(b"/") and b"\0" not in text:  # one that was cut off before it was written has nothing
            removed = places.remove_interrupted(place)
            if places.under_way(place) or not place.parent.exists():
                return removed
        note.unlink()
    return removed
