"""A list of commands, one a line: words apart by spaces, quotes around those with spaces, or a JSON list of texts."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence

from ...base import text_files
from ...base.errors import ExitCode, Refusal
from ...base.paths import user_path

_MAX_LIST = 64 << 20  # bytes; a guess: some hundred thousand commands


def read(name: str, before: Sequence[str]) -> list[tuple[str, ...]]:
    """The commands of a file, or of standard input for `-`; each line's words come behind those of `before`.

    Raises Refusal.
    """
    try:
        if name == "-":
            content = sys.stdin.buffer.read(_MAX_LIST + 1)
        else:
            with user_path(name).open("rb") as file:
                content = file.read(_MAX_LIST + 1)
        if len(content) > _MAX_LIST:
            raise ValueError("it is longer than 64 MiB")
        text = text_files.decoded(content)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise Refusal(ExitCode.USAGE, f"--list {name}: cannot be read: {why}") from None
    commands = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            try:
                commands.append((*before, *words(line)))
            except (ValueError, RecursionError) as error:
                what = f"--list {name}, line {number}: {error}"
                raise Refusal(ExitCode.USAGE, what, hint="quotes around a word; or a JSON list of texts") from None
    if not commands:
        raise Refusal(ExitCode.USAGE, f"--list {name}: has no command in it", hint="a command a line")
    return commands


def words(line: str) -> list[str]:
    """The words of one line; a backslash is a letter like others, as in Windows' paths. Raises ValueError."""
    if line.lstrip().startswith("["):
        said = json.loads(line)
        if not isinstance(said, list) or not said or not all(isinstance(word, str) for word in said):
            raise ValueError("is not a JSON list of texts")
        return said
    apart = shlex.shlex(line, posix=True)
    apart.whitespace_split, apart.commenters, apart.escape = True, "", ""
    return list(apart)
