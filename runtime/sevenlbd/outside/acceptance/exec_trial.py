"""One command in a machine of its own, as `7lbd exec` runs it for a user: both its outputs, its code, its folder."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ...base import process
from ...base.errors import visible

_SAID, _CODE = "7lbd accepted", 7
_FILE = "accepted.txt"
_COMMANDS = {
    True: ("cmd", "/c", f"echo {_SAID}& echo {_SAID}>{_FILE}& exit {_CODE}"),
    False: ("sh", "-c", f"echo {_SAID}; echo {_SAID} >{_FILE}; exit {_CODE}"),
}
# In Windows a desktop is where the account's shell is: the services' session has windows, too, that nobody could see. A
# Server Core has no Explorer: there the session is all that can be asked for.
_ON_DESKTOP = {
    True: (
        *("powershell.exe", "-NoProfile", "-Command"),
        "$mine = (Get-Process -Id $PID).SessionId; "
        "$shells = @(Get-Process -Name explorer -ErrorAction SilentlyContinue | ForEach-Object { $_.SessionId }); "
        "if ($mine -eq 0 -or ($shells.Count -and $mine -notin $shells)) { exit 1 }; "
        f"'{_SAID}'; exit {_CODE}",
    ),
    False: ("sh", "-c", f'[ -n "$DISPLAY$WAYLAND_DISPLAY" ] || exit 1; echo {_SAID}; exit {_CODE}'),
}


def tried(options: Sequence[str], base: Path, *, windows: bool) -> str:
    """Why it did not do as it should, or nothing. Raises OSError."""
    with tempfile.TemporaryDirectory(dir=base) as place:
        if trouble := _ran(place, base, [*options, "--output", _FILE, "--", *_COMMANDS[windows]]):
            return trouble
        made = Path(place) / _FILE
        if not made.is_file() or made.read_text(errors="replace").strip() != _SAID:
            return "its file does not come back"
    return ""


def on_desktop(options: Sequence[str], base: Path, *, windows: bool) -> str:
    """Why a command that asks for a visible desktop has none, or nothing. Raises OSError."""
    with tempfile.TemporaryDirectory(dir=base) as place:
        return _ran(place, base, [*options, "--desktop", "--", *_ON_DESKTOP[windows]])


def _ran(place: str, base: Path, words: Sequence[str]) -> str:
    """Why `exec` in this folder did not end as it should, or say what it should; or nothing."""
    # By a shell, which alone can be told to begin in another folder.
    script = ["/bin/sh", "-c", 'cd "$0" && exec "$@"', place, *process.python("sevenlbd"), "exec", "--no-stdin"]
    with process.piped([*script, "--session-dir", str(base), *words], environment=os.environ) as running:
        assert running.stdout
        printed = running.stdout.read().decode(errors="replace")
    if running.returncode != _CODE:
        return f"it ended with {running.returncode}: {visible(printed.strip()[-200:])}"
    if _SAID not in printed.splitlines():
        return f"what it prints does not come through: {visible(printed.strip()[-200:])}"
    return ""
