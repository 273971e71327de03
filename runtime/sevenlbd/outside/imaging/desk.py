"""What every verb of `7lbd image` works with: the options, the settings, and the repositories."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...paths import user_path
from ...settings import Settings
from .. import cli, places


@dataclass(frozen=True)
class Desk:
    """One call of a verb."""

    options: argparse.Namespace
    settings: Settings
    here: places.Places
    umask: int

    @property
    def folders(self) -> list[Path]:
        """The repositories, in order of preference."""
        return places.image_folders(self.here, self.settings)

    @property
    def shelves(self) -> list[Path]:
        """The same without the cache: where images are made and kept."""
        cache = places.image_cache(self.settings)
        return [folder for folder in self.folders if folder.absolute() != cache]

    @property
    def targets(self) -> list[Path]:
        """Where something new may go: who names a repository means that one, and none that happens to be writable."""
        return [user_path(folder) for folder in self.options.image_dirs or ()] or self.shelves


Call = Callable[[Desk], int]


def verb(verbs: Any, name: str, about: str, call: Call, *, settings: tuple[str, ...] = ()) -> argparse.ArgumentParser:
    """Add a verb to `7lbd image`; `settings` are those that it takes as options beside --image-dir."""
    parser: argparse.ArgumentParser = verbs.add_parser(
        name, help=about, description=about[0].upper() + about[1:] + ".", allow_abbrev=False
    )
    parser.set_defaults(call=call)
    for setting in ("image_dirs", *settings):
        cli.option(parser, setting)
    return parser


def say(text: str, *, error: bool = False) -> None:
    """A line for whoever waits: at once, as some of what comes next takes minutes."""
    print(f"7lbd: {text}", file=sys.stderr if error else sys.stdout, flush=True)
