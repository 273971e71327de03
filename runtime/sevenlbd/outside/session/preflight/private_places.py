"""Folders of ours that no share shows, wherever the share begins.

They hold the keys to the user's other sessions and to the grid, which stay secret even where a share is read-only, and
what the next session obeys.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ....base.paths import is_folder, user_path
from ....config import sources
from ....config.settings import Settings
from ....wire.plan import Share
from ...folders import bases
from ...grid import grid_folders
from ...presence import records
from ...saved import places


def hidden(settings: Settings, environment: Mapping[str, str], shares: Sequence[Share]) -> tuple[str, ...]:
    """Their real paths. This session's own state counts even if it is still to be made: it must not show up later."""
    if not shares and not settings.wide_links:
        return ()
    own = _of_session(settings.state_dir, environment)
    folders = [folder for folder in _ours(settings, environment) if folder in own or is_folder(folder)]
    return tuple(dict.fromkeys(map(os.path.realpath, folders)))


def _ours(settings: Settings, environment: Mapping[str, str]) -> Iterator[Path]:
    yield bases.base(settings.session_dir, environment)
    yield from bases.all_bases("", environment)
    # Sessions of other environments may have left word in the usual place.
    for state_dir in (settings.state_dir, ""):
        yield from _of_session(state_dir, environment)
        yield from _of_grid(state_dir, environment)
    if config := sources.user_folder(environment):
        yield config
    if settings.report_dir:
        # Open OnDemand keeps those of all of a user's desktops side by side, in `output`.
        report = user_path(settings.report_dir).absolute()
        yield report.parents[1] if report.parents[1].name == "output" else report


def _of_session(state_dir: str, environment: Mapping[str, str]) -> tuple[Path, ...]:
    """What sessions keep in the folder of the user's state; where nobody has named that, all of it is ours."""
    register = records.where(state_dir, environment)
    if register is None:
        return ()
    return (register, register.parent / places.SAVED) if state_dir else (register.parent,)


def _of_grid(state_dir: str, environment: Mapping[str, str]) -> tuple[Path, ...]:
    """What the grid keeps there."""
    register = records.where(state_dir, environment)
    return tuple(register.parent / name for name in (grid_folders.MACHINE, grid_folders.POOL)) if register else ()
