"""Kinds of values: sizes, durations, lists. How people write them, and how they are written for people."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import BeforeValidator, Field

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_size(value: object) -> object:
    """Bytes from `4G`, `512M`, `4GiB` or a number of bytes. Raises ValueError."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", value.strip(), re.IGNORECASE)
    if not match:
        raise ValueError("a size is a number with K, M, G or T, for instance 4G")
    size = float(match[1]) * _UNITS[match[2].upper()]
    if not math.isfinite(size):
        raise ValueError("a size has an end")
    return int(size)


def parse_duration(value: object) -> object:
    """Seconds from `90`, `90s`, `10m`, `2h`, `1d` or Slurm's `HH:MM:SS`. Raises ValueError."""
    if not isinstance(value, str):
        return value
    if match := re.fullmatch(r"(\d+):([0-5]\d):([0-5]\d)", value.strip()):
        return int(match[1]) * 3600 + int(match[2]) * 60 + int(match[3])
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd]?)", value.strip())
    if not match:
        raise ValueError("a duration is a number with s, m, h or d, or HH:MM:SS; for instance 90m")
    return float(match[1]) * _SECONDS[match[2]]


def parse_list(value: object) -> object:
    """Words from `one,two`."""
    return value.split(",") if isinstance(value, str) else value


Size = Annotated[int, BeforeValidator(parse_size), Field(ge=0)]
Duration = Annotated[float, BeforeValidator(parse_duration), Field(ge=0, allow_inf_nan=False)]
Words = Annotated[tuple[str, ...], BeforeValidator(parse_list)]


def written(value: object, kind: str = "") -> str:
    """A value as it stands in a TOML file; `kind` is the metavar of its declaration."""
    if isinstance(value, int | float) and value and kind in ("SIZE", "DURATION"):
        units = _UNITS if kind == "SIZE" else _SECONDS
        fits = [(unit, factor) for unit, factor in units.items() if value % factor == 0] or [("", 1)]
        unit, factor = max(fits, key=lambda pair: (pair[1], pair[0]))
        return json.dumps(f"{value / factor:.0f}{unit}") if value % 1 == 0 else json.dumps(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(written, value)) + "]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(name)} = {written(below)}" for name, below in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)
