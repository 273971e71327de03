"""What a guest says of itself: scripts that print `name=value`, a line each, run by its agent.

A guest may print anything. Only so many lines of such a length count, and only with names as our scripts have them.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from ...base.errors import visible
from ...wire.keeper import GuestAnswer
from .criteria.evidence import GuestFacts

_SCRIPTS = Path(__file__).parent / "scripts"
_NAME = re.compile(r"[a-z][a-z0-9_.]{0,40}")
_MAX_LINES, _MAX_VALUE = 2000, 400  # a guess: the longest list is of drivers; values are for people to read
# Windows PowerShell reads a script from its standard input line by line, and gets blocks wrong: so it is read whole.
_POWERSHELL = (
    *("powershell.exe", "-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Bypass"),
    *("-Command", "& ([ScriptBlock]::Create([Console]::In.ReadToEnd()))"),
)
_SHELL = ("/bin/sh", "-s")
# Scripts and what is put into them are ASCII; what comes back is UTF-8 whatever the code page.
_PRELUDE = "[Console]::OutputEncoding = [Text.UTF8Encoding]::new($false)\n"


def command(*, windows: bool) -> tuple[str, ...]:
    """What runs a script that comes on its standard input."""
    return _POWERSHELL if windows else _SHELL


def script(name: str, values: dict[str, str], *, windows: bool) -> bytes:
    """A script's text, ready to be run, with values that it finds as variables."""
    kind = "ps1" if windows else "sh"
    text = (_SCRIPTS / f"{name}.{kind}").read_text(encoding="ascii")
    given = "".join(_assignment(key, value, windows=windows) for key, value in values.items())
    return ((_PRELUDE if windows else "") + given + text).encode("ascii", "strict")


def exists(name: str, *, windows: bool) -> bool:
    """Whether there is such a script for this system."""
    return (_SCRIPTS / f"{name}.{'ps1' if windows else 'sh'}").exists()


def facts(answer: GuestAnswer) -> GuestFacts:
    """What a script printed, as facts."""
    if answer.failure:
        return GuestFacts(failure=answer.failure)
    values: dict[str, list[str]] = defaultdict(list)
    for line in answer.out.decode("utf-8", "replace").splitlines()[:_MAX_LINES]:
        name, separator, value = line.strip().partition("=")
        if separator and _NAME.fullmatch(name):
            values[name].append(visible(value.strip()[:_MAX_VALUE]))
    if not values:
        said = answer.err.decode("utf-8", "replace").strip().splitlines()
        why = visible(said[-1][:_MAX_VALUE]) if said else f"it ended with {answer.code} and said nothing"
        return GuestFacts(failure=why)
    return GuestFacts({name: tuple(row) for name, row in values.items()})


def _assignment(name: str, value: str, *, windows: bool) -> str:
    """A variable's line. Raises ValueError for a value that would have to be quoted: none of ours has to be."""
    if not re.fullmatch(r"[A-Za-z0-9 ._:/\\-]*", value):
        raise ValueError(f"`{name}` cannot be put into a script")
    return f"${name} = '{value}'\n" if windows else f"{name}='{value}'\n"
