"""What every verb works with: the options, the settings in force, and where we are; and what a verb says of itself."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ...base.paths import user_path
from ...config import sources
from ...config.merging import Loaded
from ...config.settings import Settings
from ..console import terminal
from .parser import Parser, source


@dataclass(frozen=True)
class CommandContext:
    """One call of a verb."""

    options: argparse.Namespace
    umask: int

    @cached_property
    def here(self) -> sources.Places:
        """Where this copy of the appliance finds things. What may be a stranger's does not count, which is told."""
        here = sources.look_around(os.environ)
        terminal.warn(*here.passed_over())
        return here

    @cached_property
    def loaded(self) -> Loaded:
        """The settings in force and where each comes from. Raises Refusal."""
        return sources.settings(self.here, source(self.options))

    @property
    def settings(self) -> Settings:
        """The settings in force. Raises Refusal."""
        return self.loaded.settings

    @property
    def folders(self) -> list[Path]:
        """The repositories, in order of preference."""
        return sources.image_folders(self.here, self.settings)

    @property
    def repository_folders(self) -> list[Path]:
        """The same without the cache: where images are made and kept."""
        cache = sources.image_cache(self.settings)
        return [folder for folder in self.folders if folder.absolute() != cache]

    @property
    def targets(self) -> list[Path]:
        """Where something new may go: who names a repository means that one, and none that happens to be writable."""
        return [user_path(folder) for folder in self.options.image_dirs or ()] or self.repository_folders


def no_options(_parser: argparse.ArgumentParser) -> None:
    """For a verb that takes none."""


@dataclass(frozen=True)
class Command:
    """What a verb does, and what it takes. Its name and meaning stand in the table of verbs."""

    call: Callable[[CommandContext], int] | None
    """Returns the exit code. Raises Refusal. None for `run`, which `launch` begins before anything is parsed."""
    options: Callable[[Parser], None] = no_options
    checks_settings: bool = True
    """Whether wrong settings are refused before the call, even if it does not use them."""


def say(text: str, *, error: bool = False) -> None:
    """A line for whoever waits: at once, as some of what comes next takes minutes."""
    terminal.say(f"7lbd: {text}", error=error)
