"""Nothing of a user, a node or a secret gets into a record or a report: both are made to be passed on."""

from __future__ import annotations

import os
import pwd
import re
import socket
from collections.abc import Mapping

_SHORTEST = 3  # characters; a shorter name stands in every other word
_SECRET = 20  # characters; what is as long as that stands in no other word, and a guest may put letters beside it
# Numbers of machines and people that nobody means to tell, whoever printed them.
_PATTERNS = (
    (re.compile(r"\b[0-9a-fA-F]{2}(?::[0-9a-fA-F]{2}){5}\b"), "<mac>"),
    # Of a home its owner's name is hidden, and what has a name of its own; programs' own files begin with a dot.
    (re.compile(r"(?<![\w/])/(?:home|users?|scratch|gpfs|lustre|nfs)(?:/[^\s,;:'\"/.][^\s,;:'\"/]*)+"), "<path>"),
    (re.compile(r"\b([A-Za-z]):\\(Users|Documents and Settings)\\[^\\,;:'\"|]+", re.IGNORECASE), r"\1:\\\2\\<hidden>"),
)


def words_to_hide(environment: Mapping[str, str], *more: str) -> tuple[str, ...]:
    """What tells who and where we are: user, home, host, and `more` (an image's folder, a session's password)."""
    try:
        entry = pwd.getpwuid(os.getuid())
        names = [entry.pw_name, entry.pw_dir, entry.pw_gecos.partition(",")[0]]
    except KeyError:
        names = []
    host = socket.gethostname()
    names += [environment.get("HOME", ""), environment.get("USER", ""), host, host.partition(".")[0], *more]
    # The longest first: a home's path holds its user's name.
    return tuple(sorted({name for name in names if len(name) >= _SHORTEST and name != "/"}, key=len, reverse=True))


def scrubbed(text: str, hidden: tuple[str, ...]) -> str:
    """The text with each of these words replaced."""
    for word in hidden:
        alone = re.escape(word) if len(word) >= _SECRET else rf"(?<![A-Za-z0-9]){re.escape(word)}(?![A-Za-z0-9])"
        text = re.sub(alone, "<hidden>", text, flags=re.IGNORECASE)
    for pattern, instead in _PATTERNS:
        text = pattern.sub(instead, text)
    return text
