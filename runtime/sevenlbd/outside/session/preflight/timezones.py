"""The guest's time zone: from the setting, or the user's own on this node, to what the agent is to run.

Windows has names of its own; which IANA name is which is CLDR's table (windowsZones.xml), as tzlocal keeps it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from ....base import mount_table
from ....base.errors import ExitCode, Refusal
from ....config.settings import Settings
from ....images.description import OS, Channel, Description
from .remarks import Remarks

# tzlocal's table and the list of all zones cost time, so they are only read where they are wanted.

AUTO, IMAGE = "auto", "image"
_DEFAULT_HOOKS = {OS.WINDOWS: ("tzutil.exe", "/s"), OS.LINUX: ("timedatectl", "set-timezone")}
_DATABASE = "zoneinfo/"
# Beside the zones in the same folder: the rules of leap seconds and of those without, and what is no zone at all.
_VARIANTS = ("posix/", "right/")
_NO_ZONES = {"Factory", "localtime", "posixrules"}
_NAME = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*")
_MAGIC = b"TZif"  # RFC 9636, 3.1
_LOCALTIME = Path("/etc/localtime")
_ZONES = Path("/usr/share/zoneinfo")
_NODE = Path("/node")  # the node's own tree, where the site's `7lbd` command shows it
_MOST_BYTES = 64 << 10  # of a zone's rules, which have some KiB
_SUGGESTED = 3  # a guess: what one reads in a line


def command(
    settings: Settings, environment: Mapping[str, str], described: Description, remarks: Remarks
) -> tuple[str, ...]:
    """What the agent is to run; nothing where the zone stays the image's. Raises Refusal for a zone that is none."""
    chosen = settings.timezone
    if chosen not in (AUTO, IMAGE):
        _check(chosen)
    if chosen == IMAGE:
        return ()
    if Channel.AGENT not in described.channels:
        if chosen != AUTO:
            remarks.warnings.append(f"the image has no guest agent, so nobody can set its time zone to {chosen}")
        return ()
    zone = of_user(environment) if chosen == AUTO else chosen
    if not zone:
        remarks.notes.append("your time zone has no name here, so the guest keeps the image's (--timezone NAME)")
        return ()
    name = _in_windows(zone) if described.os is OS.WINDOWS else zone
    if not name:
        remarks.warnings.append(
            f"Windows has no time zone for {zone}, so the guest keeps the image's (--timezone NAME)"
        )
        return ()
    return (*(described.timezone_hook or _DEFAULT_HOOKS[described.os]), name)


def of_user(environment: Mapping[str, str]) -> str:
    """The user's zone by its IANA name: `TZ`, or the node's own; empty when it has no name that anybody knows."""
    if variable := environment.get("TZ", ""):
        # tzset(3): a colon may stand before it, and a path in its place; rules, as `CET-1CEST`, have no name.
        name = variable.removeprefix(":")
        return _known(name.rpartition(_DATABASE)[2] if name.startswith("/") else name)
    return _of_node()


def _of_node() -> str:
    """By the name of the file that is the node's /etc/localtime: Apptainer binds it here, unless it was told not to."""
    # The last one is what is seen: a user may have bound another one over Apptainer's.
    for line in reversed(mount_table.lines()):
        # proc_pid_mountinfo(5): the fourth field is where in its file system what is mounted on the fifth comes from.
        source, target = line.split(" ")[3:5]
        if target == str(_LOCALTIME):
            return _named(source) or _by_rules(_LOCALTIME)
    seen = _NODE / _LOCALTIME.relative_to("/")
    with suppress(OSError):
        return _named(str(seen.readlink()))
    return _by_rules(seen)


def _named(path: str) -> str:
    _, database, name = path.rpartition(_DATABASE)
    for variant in _VARIANTS:
        name = name.removeprefix(variant)
    return _known(name) if database else ""


def _by_rules(file: Path) -> str:
    """The zone whose file has the same bytes, where the name is lost: some nodes have a copy."""
    with suppress(OSError):
        rules = _read(file)
        same = [name for name in sorted(_all()) if (_ZONES / name).is_file() and _read(_ZONES / name) == rules]
        # Of several names for one zone the one of a continent and a city is the usual one.
        return min(same, key=lambda name: ("/" not in name, name.startswith("Etc/"), len(name)), default="")
    return ""


def _read(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(_MOST_BYTES)


def _known(name: str) -> str:
    return name if _is_zone(name) else ""


def _is_zone(name: str) -> bool:
    """Whether it is one of the appliance's database, or an older name that CLDR still knows."""
    if not _NAME.fullmatch(name) or name in _NO_ZONES or name.startswith(_VARIANTS):
        return False
    with suppress(OSError):
        return _read(_ZONES / name).startswith(_MAGIC)
    return bool(_in_windows(name))


def _in_windows(zone: str) -> str:
    """Windows' name for an IANA zone; empty where it has none."""
    from tzlocal.windows_tz import tz_win

    return tz_win.get(zone) or tz_win.get(f"Etc/{zone}", "")


def _all() -> set[str]:
    import zoneinfo

    from tzlocal.windows_tz import tz_win

    return {*tz_win, *zoneinfo.available_timezones()} - _NO_ZONES


def _check(name: str) -> None:
    if _is_zone(name):
        return
    near = _nearest(name)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    what = f"`timezone` = {name!r} is not the name of a time zone"
    more = "auto is your own on this node, image leaves it to the image"
    raise Refusal(ExitCode.USAGE, what, hint=f"{hint}An IANA name, as Europe/Berlin; {more}")


def _nearest(name: str) -> list[str]:
    """A few zones that may be meant: Windows' name for one, a city without its continent, a name with a slip in it."""
    from tzlocal.windows_tz import win_tz

    if name in win_tz:
        return [win_tz[name]]
    by_plain = {zone.casefold(): zone for zone in _all()}
    plain = name.casefold().replace(" ", "_")
    cities = sorted(zone for key, zone in by_plain.items() if plain in (key, key.rpartition("/")[2]))
    last = {key.rpartition("/")[2]: zone for key, zone in sorted(by_plain.items())}
    close = [by_plain[key] for key in difflib.get_close_matches(plain, by_plain, _SUGGESTED)]
    close += [last[key] for key in difflib.get_close_matches(plain, last, _SUGGESTED)]
    return list(dict.fromkeys([*cities, *close]))[:_SUGGESTED]
