"""Refusals: what is wrong, why, and what mends it, with the exit code that scripts can rely on.

Library code raises `Refusal`; only `__main__` prints one and exits.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of `7lbd`; documented in docs/user.md, which a test compares with this list."""

    OK = 0
    BUG = 1
    USAGE = 2
    IMAGE = 3
    NODE = 4
    RESOURCES = 5
    SHARE = 6
    NOT_READY = 7
    BROKE = 8
    NO_SESSION = 9
    BUSY = 75
    SUSPENDED = 85
    INTERRUPTED = 130
    TERMINATED = 143


MEANING = {
    ExitCode.OK: "the session ended in order, or the command did what it was asked",
    ExitCode.BUG: "a fault of 7lbd itself; the traceback says where",
    ExitCode.USAGE: "the command line or a setting is wrong",
    ExitCode.IMAGE: "the image cannot be used",
    ExitCode.NODE: "the node lacks something: user namespaces, KVM with accel=kvm, tun with network=tap",
    ExitCode.RESOURCES: "not enough memory, CPUs or disk space",
    ExitCode.SHARE: "a share cannot be served",
    ExitCode.NOT_READY: "the desktop was not ready in time",
    ExitCode.BROKE: "the virtual machine or one of its helpers died",
    ExitCode.NO_SESSION: "there is no such session",
    ExitCode.BUSY: "others need the node's memory (background), so nothing has begun: later it may, or elsewhere",
    ExitCode.SUSPENDED: "its time was up, and the desktop was suspended (at_end; suspended_exit_code)",
    ExitCode.INTERRUPTED: "Ctrl-C before the desktop was ready",
    ExitCode.TERMINATED: "SIGTERM or the walltime signal before the desktop was ready",
}


_MOST = 4000  # characters; a guess: some forty lines of a terminal, more than any refusal has
# Printable by their class, and not seen all the same: fillers, joiners, variation selectors (Default_Ignorable).
_UNSEEN = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0") | frozenset(map(chr, range(0xFE00, 0xFE10)))
_MOST_MARKS = 4  # on one letter; no language has more, and towers of them hide other lines


def visible(text: str, most: int = _MOST) -> str:
    """`text` on one line of bounded length, without anything that a terminal or a page would obey.

    Control characters, marks that turn the direction of writing, other line ends, halves of characters and what cannot
    be seen are shown as escapes: names may be hostile.
    """
    if len(text) > most:
        text = text[:most] + "…"
    if text.isascii() and text.isprintable():
        return text
    return "".join(_shown(text))


def _shown(text: str) -> Iterator[str]:
    marks = 0
    for c in text:
        marks = marks + 1 if unicodedata.combining(c) else 0
        harmless = c.isprintable() and c not in _UNSEEN and marks <= _MOST_MARKS
        yield c if harmless else c.encode("unicode_escape", "backslashreplace").decode()


class Refusal(Exception):
    """Something that cannot be done, in words for the person who asked.

    `what` names the offender and says why; `hint` is the command or change that mends it.
    """

    def __init__(self, code: ExitCode, what: str, *, hint: str = "") -> None:
        super().__init__(what)
        self.code = code
        self.what = visible(what)
        self.hint = visible(hint)

    def __str__(self) -> str:
        return f"{self.what}\n  {self.hint}" if self.hint else self.what
