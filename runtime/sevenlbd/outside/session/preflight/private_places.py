"""Folders of ours that no share shows, wherever the share begins.

They hold the keys to the user's other sessions, which stay secret even where a share is read-only, and what the next
session obeys.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ....base.paths import user_path
from ....config import sources
from ....config.settings import Settings
from ....wire.plan import Share
from ...folders import bases
from ...presence import records
from ...saved import places


def hidden(settings: Settings, environment: Mapping[str, str], shares: Sequence[Share]) -> tuple[str, ...]:
    """Their real paths. This session's register counts even if it is still to be made: it must not show up later."""
    if not shares and not settings.wide_links:
        return ()
    own = (records.where(settings.state_dir, environment), places.folder(settings.state_dir, environment))
    folders = [folder for folder in _ours(settings, environment) if folder in own or folder.is_dir()]
    return tuple(dict.fromkeys(map(os.path.realpath, folders)))


def _ours(settings: Settings, environment: Mapping[str, str]) -> Iterator[Path]:
    yield bases.base(settings.session_dir, environment)
    yield from bases.all_bases("", environment)
    # Sessions of other environments may have left word in the usual place.
    for state_dir in (settings.state_dir, ""):
        if registered := records.where(state_dir, environment):
            yield registered
        if saved := places.folder(state_dir, environment):
            yield saved
    if config := sources.user_folder(environment):
        yield config
    if settings.report_dir:
        # Open OnDemand keeps those of all of a user's desktops side by side, in `output`.
        report = user_path(settings.report_dir).absolute()
        yield report.parents[1] if report.parents[1].name == "output" else report
