"""The private networks that the site's file has: their files on this node, and their servers, tried from here."""

from __future__ import annotations

from collections.abc import Iterator

from ...base.errors import Refusal
from ...config import tables
from ..project import joining
from ..site.network_table import NetworkTable, ProjectTable
from . import servers
from .checked_site import CheckedSite, refused
from .doctor import Finding


def of_networks(site: CheckedSite) -> Iterator[Finding]:
    """Each table by itself: what is wrong in it, or whether this user could join it from here."""
    try:
        said = tables.checked(NetworkTable, "network", joining.said(site.said), site.file)
    except Refusal as refusal:
        yield refused("keys", refusal)
        return
    for name, table in said.project.items():
        yield _of(name, table)


def _of(name: str, table: ProjectTable) -> Finding:
    check = f"network {name}"
    try:
        files = joining.readable(name, table)
        address = joining.address_of(name, table.host)
    except Refusal as refusal:
        return refused(check, refusal, "warning")
    outcome = servers.answer(address, table.port)
    text = f"{table.server}: {outcome}; {len(files.keys)} of {len(table.keys)} keys are this user's here"
    return Finding(check, "ok" if outcome == servers.FINE else "warning", text, servers.MEND.get(outcome, ""))
