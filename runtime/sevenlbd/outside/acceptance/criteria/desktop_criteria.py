"""The desktop: log-ins right and wrong, how soon it can be used, and what of its picture came."""

from __future__ import annotations

from collections.abc import Callable

from .criterion import Criterion, Judgement, cannot_tell, fail, ok
from .evidence import Evidence
from .observations import Visited

_FIRST_SECONDS, _SECOND_SECONDS = 60.0, 20.0  # guesses: what people wait before they try again
_FRAMES = 10.0  # a second; a guess: fewer look like a slide show
_REMOTEFX = "RemoteFX"
_ANYBODY = "the server shows its screen to whoever comes, without network-level authentication: it may be of a log-in"
_REFUSED, _USABLE, _DARK = "refused", "usable", "not usable"


def _visit(evidence: Evidence, which: str) -> Visited | None:
    found = evidence.first_cold().more.get(f"desktop.{which}")
    return found if isinstance(found, Visited) else None


def _nothing(evidence: Evidence) -> Judgement:
    return cannot_tell(evidence.first_cold().failure or "no visit was made")


def _login(evidence: Evidence) -> Judgement:
    visit = _visit(evidence, "first")
    if visit is None:
        return _nothing(evidence)
    if visit.outcome in (_USABLE, _DARK) and not visit.by_nla:
        return fail(_ANYBODY, "TLS alone", "network-level authentication")
    match visit.outcome:
        case "usable":
            return ok("the session's password opens the desktop, with network-level authentication", visit.outcome)
        case "not usable":
            return fail(f"the log-in works, and no desktop comes of it: {visit.words}", visit.outcome, _USABLE)
        case _:
            return fail(f"the session's own password opens no desktop: {visit.words}", visit.outcome, _USABLE)


def _log_on(which: str, most: float) -> Callable[[Evidence], Judgement]:
    def judge(evidence: Evidence) -> Judgement:
        visit = _visit(evidence, which)
        seconds = visit.seconds("usable") if visit else None
        if visit is None:
            return _nothing(evidence)
        if seconds is not None and not visit.by_nla:
            return cannot_tell(_ANYBODY)
        if seconds is None:
            return cannot_tell(f"no desktop came to time: {visit.words or visit.outcome}")
        value, limit = f"{seconds:.1f} s", f"{most:.0f} s"
        if seconds <= most:
            return ok("until the picture is there and rests", value, limit)
        if not evidence.node.kvm:
            return cannot_tell(f"it took {value}, which says little where the CPU is emulated")
        return fail("users look at a black or unready screen for too long", value, limit)

    return judge


def _wrong(evidence: Evidence) -> Judgement:
    visit, right = _visit(evidence, "wrong"), _visit(evidence, "first")
    if visit is None or right is None:
        return _nothing(evidence)
    if visit.outcome in (_USABLE, _DARK) and not visit.by_nla:
        return cannot_tell(_ANYBODY)
    if visit.outcome in (_USABLE, _DARK):
        return fail("a wrong password opens the desktop", "let in", _REFUSED)
    if visit.outcome != _REFUSED:
        return cannot_tell(f"the log-in with a wrong password came to no answer: {visit.words}")
    if right.outcome not in (_USABLE, _DARK):
        return cannot_tell("a wrong password is refused, and so is the right one")
    return ok("a wrong password is refused", str(visit.told.get("kind", "")), _REFUSED)


def _lock(evidence: Evidence) -> Judgement:
    wrong, after, first = (_visit(evidence, which) for which in ("wrong", "after", "first"))
    if wrong is None or after is None or first is None:
        return _nothing(evidence)
    if wrong.outcome != _REFUSED or first.outcome != _USABLE:
        return cannot_tell("no wrong password was refused where the right one works")
    if after.outcome == _USABLE:
        return ok("the right password works after a wrong one", _USABLE, _USABLE)
    return fail(f"one wrong password locks the user out: {after.words}", after.outcome, _USABLE)


def _codec(evidence: Evidence) -> Judgement:
    visit = _visit(evidence, "first")
    if visit is None or visit.outcome in (_REFUSED, "failed"):
        return cannot_tell(visit.words if visit else "no visit was made")
    came: dict[str, dict[str, int]] = visit.told.get("codecs") or {}
    if not came:
        return cannot_tell("no picture was counted")
    total = sum(one["bytes"] for one in came.values()) or 1
    value = ", ".join(f"{name} {100 * one['bytes'] / total:.0f} %" for name, one in came.items())
    value += ", graphics pipeline offered" if visit.told.get("pipeline") else ""
    if came.get(_REMOTEFX, {}).get("bytes", 0) * 2 >= total:
        return ok("the picture comes as the desktop's page can show it best", value, _REMOTEFX)
    return fail(
        "the picture does not come in RemoteFX: the desktop's page is slow with it, or unreadable", value, _REMOTEFX
    )


def _frames(evidence: Evidence) -> Judgement:
    visit = _visit(evidence, "first")
    frames = visit.seconds("frames_per_second") if visit else None
    if visit is None or frames is None:
        return cannot_tell(visit.words or "nothing was moved" if visit else "no visit was made")
    if not frames:
        return cannot_tell("nothing was drawn while something was dragged: the desktop's background may not be free")
    marked = "" if visit.told.get("marked_frames") else ", of updates: its frames are not marked"
    value, limit = f"{frames:.1f} a second{marked}", f"{_FRAMES:.0f} a second"
    if frames >= _FRAMES:
        return ok("frames that come while something is dragged", value, limit)
    if not evidence.node.kvm:
        return cannot_tell(f"{value}, which says little where the CPU is emulated")
    return fail("few frames come while something is dragged", value, limit)


CRITERIA = (
    Criterion("desktop.login", "the session's password opens the desktop", _login),
    Criterion(
        "desktop.first_log_on", "the first log-on leads to a usable desktop in time", _log_on("first", _FIRST_SECONDS)
    ),
    Criterion("desktop.second_log_on", "and so does the second", _log_on("second", _SECOND_SECONDS)),
    Criterion("desktop.wrong_password", "a wrong password is refused", _wrong),
    Criterion("desktop.lock_out", "and locks nobody out", _lock),
    Criterion("desktop.codec", "the picture comes in RemoteFX", _codec),
    Criterion("desktop.frames", "enough frames come", _frames),
)
