"""What is asked of an examined session beside what its scripts tell: in this order, as each changes what is next."""

from __future__ import annotations

from . import desktop_visits, idle_network, overlay_growth, share_files

ALL = (
    overlay_growth.Growth("boot"),
    desktop_visits.DesktopVisits(),
    overlay_growth.Growth("log-on"),
    idle_network.IdleNetwork(),
    overlay_growth.Growth("idle"),
    overlay_growth.Trim(),
    share_files.ShareFiles(),
)
