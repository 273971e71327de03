"""The decision: may others' work be on this machine now? A pure function of what was seen, for whoever borrows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo

from ...base.errors import visible
from . import hours
from .hours import Hours

_SHOWN = 3  # people in a sentence; a guess: who reads it wants to know of somebody


@dataclass(frozen=True)
class Person:
    """Somebody who is logged in. `since` is in seconds since the epoch, 0 when nobody knows."""

    user: str
    since: float = 0.0
    kind: str = ""
    """How: `ssh`, `x11`, `wayland`, `tty`, as its register calls it."""
    idle: float = 0.0
    """For how many seconds nothing was typed; 0 also when nobody can tell."""
    uid: str = ""


@dataclass(frozen=True)
class Policy:
    """What the owner grants. Sizes in bytes, durations in seconds."""

    when_empty: tuple[Hours, ...]
    """While nobody is logged in."""
    when_used: tuple[Hours, ...]
    """While somebody is."""
    not_owners: tuple[str, ...] = ()
    """Users, by name or number, whose log-ins do not count: those that the borrowed work runs as."""
    idle: float = 0.0
    """A log-in that has been idle for so long does not count; 0: each counts."""
    load: float = 0.0
    """Most load of the owner's own work, for each CPU, at which others' may begin; 0 is no limit."""
    memory: int = 0
    """What is left to the owner."""
    grace: float = 0.0
    """How long work takes, at most, until it is gone."""


@dataclass(frozen=True)
class Seen:
    """What there is on the machine."""

    logins: Sequence[Person] | None
    """None: nobody can tell, which is not nobody."""
    load: float | None = None
    """Of the owner's own work, for each CPU: whoever asks has taken that of the borrowed work out of it."""
    memory: int | None = None
    """Bytes that could be had."""


@dataclass(frozen=True)
class LendingDecision:
    """`until` is when time alone changes it, in seconds since the epoch; None when it does not within a week."""

    allowed: bool
    until: float | None
    why: str
    owner: bool | None
    """Whether an owner is logged in; None when nobody can tell."""


def decide(policy: Policy, seen: Seen, now: datetime) -> LendingDecision:
    """Whether others' work may be there, `now` in local time. Who cannot be told from somebody is somebody."""
    owners = None if seen.logins is None else _counted(policy, seen.logins)
    is_used = owners is None or bool(owners)
    granted = policy.when_used if is_used else policy.when_empty
    opening = hours.opening(granted, now)
    who = _who(owners, now.tzinfo)
    rule = ", ".join(one.text for one in granted) or "never"
    has_owner = None if owners is None else is_used
    if not opening.is_open:
        return LendingDecision(False, opening.changes, f"{who}, and then it is lent {rule}", has_owner)
    return LendingDecision(True, opening.changes, f"{who}, and then it is lent {rule}", has_owner)


def may_begin(policy: Policy, seen: Seen, now: datetime) -> LendingDecision:
    """The same for work that is to begin, which also heeds load, memory, and an end that is too near for any work."""
    verdict = decide(policy, seen, now)
    if not verdict.allowed:
        return verdict
    why = ""
    if policy.load and seen.load is not None and seen.load > policy.load:
        why = f"the owner's own work loads each CPU by {seen.load:.2f}, and {policy.load:.2f} is the most"
    elif seen.memory is not None and seen.memory < policy.memory:
        why = f"{seen.memory >> 20} MiB of memory are free, and {policy.memory >> 20} MiB are the owner's"
    elif verdict.until is not None and verdict.until - now.timestamp() <= policy.grace:
        why = f"it ends within {policy.grace:.0f} s: {verdict.why}"
    return LendingDecision(False, None, why, verdict.owner) if why else verdict


def must_leave(policy: Policy, verdict: LendingDecision, now: float, lead: float = 0.0) -> bool:
    """Whether work that is there has to go: nobody lends the machine, or will not when its grace is over.

    `lead` is how long it takes to leave, in seconds, if that is known; what takes longer than the grace begins before.
    """
    if not verdict.allowed:
        return True
    return verdict.until is not None and now >= verdict.until - max(policy.grace, lead)


def _counted(policy: Policy, logins: Sequence[Person]) -> list[Person]:
    ours = set(policy.not_owners)
    return [
        login
        for login in logins
        if login.user not in ours and login.uid not in ours and not (policy.idle and login.idle >= policy.idle)
    ]


def _who(owners: Sequence[Person] | None, zone: tzinfo | None) -> str:
    if owners is None:
        return "nobody can tell who is logged in"
    if not owners:
        return "nobody is logged in"
    ordered = sorted(owners, key=lambda login: login.since)
    named = list({login.user: _one(login, zone) for login in reversed(ordered)}.values())[::-1]
    more = f" and {len(named) - _SHOWN} more" if len(named) > _SHOWN else ""
    return f"{', '.join(named[:_SHOWN])}{more} {'is' if len(named) == 1 else 'are'} logged in"


def _one(login: Person, zone: tzinfo | None) -> str:
    since = f"since {datetime.fromtimestamp(login.since, zone):%a %H:%M}" if login.since else ""
    more = ", ".join(filter(None, [visible(login.kind), since]))
    return f"{visible(login.user)} ({more})" if more else visible(login.user)
