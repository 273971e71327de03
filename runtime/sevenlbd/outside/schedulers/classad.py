"""ClassAds in their old form, a line an attribute: read from a job's files, written for a pool to read.

Read are literals alone; what is an expression is HTCondor's own to evaluate. Written is no string but between quotes,
so that no name of ours ever becomes an expression. Source: HTCondor's manual, "ClassAd Mechanism", old ClassAd syntax.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from ...base import foreign_files

Value = str | int | float | bool
_LINE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)")
_TEXT = re.compile(r'"((?:[^"\\]|\\.)*)"')
_MOST = 1 << 20  # bytes; a job's ad has some thousands, and its environment is in it


def parse(text: str) -> dict[str, Value]:
    """The attributes that are literals, by their names in lower-case: names differ by more than case."""
    found: dict[str, Value] = {}
    for line in text.split("\n"):
        if (match := _LINE.fullmatch(line.strip())) and (value := _literal(match[2].strip())) is not None:
            found[match[1].lower()] = value
    return found


def read(file: str) -> dict[str, Value] | None:
    """The ad in a file; None when there is none that can be read."""
    path = Path(file)
    try:
        return parse(foreign_files.read(path.parent, path.name, _MOST).decode(errors="replace"))
    except (OSError, ValueError):
        return None


def has_expression(file: str, name: str) -> bool:
    """Whether the ad in a file has this attribute, as something that is no literal."""
    path = Path(file)
    try:
        text = foreign_files.read(path.parent, path.name, _MOST).decode(errors="replace")
    except (OSError, ValueError):
        return False
    found = [match for line in text.split("\n") if (match := _LINE.fullmatch(line.strip()))]
    said = [match[2].strip() for match in found if match[1].lower() == name.lower()]
    return bool(said) and said[-1].lower() != "undefined" and _literal(said[-1]) is None


def number(ad: Mapping[str, Value], *names: str) -> int:
    """The first of these attributes that is a number above nothing; else 0."""
    for name in names:
        value = ad.get(name.lower())
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1 << 60:
            return int(value)
    return 0


def text(ad: Mapping[str, Value], name: str) -> str:
    """An attribute that is text; else nothing."""
    value = ad.get(name.lower())
    return value if isinstance(value, str) else ""


def written(value: Value) -> str:
    """A value as a literal. Raises ValueError for text that is not on one printable line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if not value.isprintable():
        raise ValueError(f"{value!r} is not one printable line")
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _literal(text: str) -> Value | None:
    if match := _TEXT.fullmatch(text):
        return re.sub(r"\\(.)", r"\1", match[1])
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if re.fullmatch(r"[+-]?[0-9]{1,18}", text):
        return int(text)
    if re.fullmatch(r"[+-]?[0-9]{1,18}\.[0-9]{1,18}(E[+-]?[0-9]{1,3})?", text, re.IGNORECASE):
        return float(text)
    return None
