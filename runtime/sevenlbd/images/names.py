"""Names of images and of their versions. Whatever is not plainly one is refused here, before a path is made of it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..base.errors import ExitCode, Refusal
from .layout import CURRENT, HISTORY

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
# What else lies in an image's folder beside its versions.
_TAKEN = (CURRENT, HISTORY)


@dataclass(frozen=True)
class Reference:
    """An image by name; an empty version is the current one."""

    name: str
    version: str = ""

    def __str__(self) -> str:
        return f"{self.name}@{self.version}" if self.version else self.name


def parse(text: str, *, exact: bool = False) -> Reference:
    """The reference in `NAME` or `NAME@VERSION`; with `exact` the version must be there. Raises Refusal."""
    name, at, version = text.partition("@")
    check_name(name)
    if at:
        check_version(version)
    elif exact:
        raise Refusal(ExitCode.USAGE, f"`{text}` names no version", hint=f"{text}@VERSION; 7lbd image list shows them")
    return Reference(name, version)


def is_name(text: str) -> bool:
    """Whether `text` can be an image's name."""
    return bool(_NAME.fullmatch(text)) and ".." not in text


def is_version(text: str) -> bool:
    """Whether `text` can be a version's name."""
    return bool(_VERSION.fullmatch(text)) and ".." not in text and text.lower() not in _TAKEN


def check_name(text: str) -> None:
    """Raises Refusal when `text` cannot be an image's name."""
    if not is_name(text):
        raise Refusal(
            ExitCode.IMAGE,
            f"`{text[:80]}` cannot be an image's name",
            hint="a name has 1 to 63 lower-case letters, digits, `.`, `_` and `-`, begins with a letter or digit, "
            "and has no `..` in it",
        )


def check_version(text: str) -> None:
    """Raises Refusal when `text` cannot be a version's name."""
    if not is_version(text):
        raise Refusal(
            ExitCode.IMAGE,
            f"`{text[:80]}` cannot be a version's name",
            hint="a version has 1 to 63 letters, digits, `.`, `_` and `-`, begins with a letter or digit, "
            f"has no `..` in it, and is not {' or '.join(_TAKEN)}",
        )
