"""Images from installation media: one verb for each system, each in a module of its own."""

from __future__ import annotations

from typing import Any

from . import build_debian, build_windows

_SYSTEMS = (build_windows, build_debian)
_ABOUT = "install a system from its media, unattended"


def register(verbs: Any) -> None:
    """Add this group's verbs to `7lbd image`."""
    parser = verbs.add_parser(
        "build", help=_ABOUT, description=_ABOUT[0].upper() + _ABOUT[1:] + ".", allow_abbrev=False
    )
    systems = parser.add_subparsers(title="systems", dest="system", metavar="SYSTEM", required=True)
    for system in _SYSTEMS:
        system.register(systems)
