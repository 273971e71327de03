"""What a pool is told of a machine's owner: whether there is one, and whether and until when the machine is lent.

Nobody's name is in it: a pool's ads are for everybody to read.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from . import lending, logged_in
from .lending import Policy, Seen

LOGGED_IN = "OwnerLoggedIn"
ALLOWS = "SevenLbdOwnerAllows"
UNTIL = "SevenLbdOwnerUntil"
ASKED = "SevenLbdOwnerAsked"


def attributes(granted: Policy, now: datetime, root: Path) -> dict[str, bool | int | None]:
    """The part "owner" of a node's ClassAd; None is `undefined`. Times are in seconds since the epoch."""
    verdict = lending.decide(granted, Seen(logged_in.people(root)), now)
    return {
        LOGGED_IN: verdict.owner,
        ALLOWS: verdict.allowed,
        UNTIL: None if verdict.until is None else int(verdict.until),
        ASKED: int(now.timestamp()),
    }
