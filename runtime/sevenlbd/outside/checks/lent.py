"""What the site's table `[owner]` comes to on this very node, now: who is seen, and whether it is lent."""

from __future__ import annotations

from collections.abc import Iterator

from ..owner import advertised
from .checked_site import CALLED, CheckedSite
from .doctor import Finding


def of_owner(site: CheckedSite) -> Iterator[Finding]:
    """Nothing for a site that lends no machines."""
    if "owner" not in site.said:
        return
    decision = advertised.decided(site.owner.policy())
    level, hint = ("warning", CALLED) if decision.owner is None else ("ok", "")
    yield Finding("owner", level, f"{'lent' if decision.allowed else 'not lent'} now: {decision.why}", hint)
