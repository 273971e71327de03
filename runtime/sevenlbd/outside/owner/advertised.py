"""What a pool is told of a machine's owner: whether there is one, and whether and until when the machine is lent.

Nobody's name is in it: a pool's ads are for everybody to read.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

from ..node import host_memory
from . import lending, logged_in
from .lending import LendingDecision, Policy, Seen

LOGGED_IN = "OwnerLoggedIn"
ALLOWS = "SevenLbdOwnerAllows"
MAY_BEGIN = "SevenLbdOwnerAllowsMore"
UNTIL = "SevenLbdOwnerUntil"
ASKED = "SevenLbdOwnerAsked"
_ZONES = "/zoneinfo/"


def of_node(granted: Policy) -> Mapping[str, bool | int | None]:
    """The part "owner" of this node's ClassAd, as it is now; None is `undefined`."""
    return attributes(granted, *looked())


def decided(granted: Policy) -> LendingDecision:
    """The same for people: with names, and why."""
    return lending.decide(granted, *looked())


def attributes(granted: Policy, seen: Seen, now: datetime) -> Mapping[str, bool | int | None]:
    """The same of what was seen, `now` in the node's local time. Times are in seconds since the epoch."""
    decision = lending.decide(granted, seen, now)
    return {
        LOGGED_IN: decision.owner,
        ALLOWS: decision.allowed,
        MAY_BEGIN: lending.may_begin(granted, seen, now).allowed,
        UNTIL: None if decision.until is None else int(decision.until),
        ASKED: int(now.timestamp()),
    }


def looked() -> tuple[Seen, datetime]:
    """What there is on this node, and the time there."""
    root, memory = logged_in.node_root(), host_memory.look()
    seen = Seen(logged_in.people(root), memory=memory.available if memory else None)
    return seen, datetime.now(_zone(root))


def _zone(root: Path) -> tzinfo:
    """The node's own time zone, whatever `TZ` says: the hours are the machine's, and not those of who asks."""
    for place in (root / "etc/localtime", Path("/etc/localtime")):
        try:
            if place.is_symlink() and _ZONES in (name := str(place.readlink())):
                return _named(root, name.rpartition(_ZONES)[2])
            with place.open("rb") as rules:
                return ZoneInfo.from_file(rules)
        except (OSError, ValueError, LookupError):
            continue
    return UTC


def _named(root: Path, zone: str) -> ZoneInfo:
    """By the node's own rules, which may know zones that ours do not. Raises LookupError or ValueError."""
    try:
        with (root / "usr/share/zoneinfo" / zone).open("rb") as rules:
            return ZoneInfo.from_file(rules, key=zone)
    except OSError:
        return ZoneInfo(zone)
