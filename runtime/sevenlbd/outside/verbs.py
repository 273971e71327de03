"""The verbs' names, and which one is meant. Loads nothing: `run` begins its work before the rest is loaded."""

from __future__ import annotations

from collections.abc import Sequence

VERBS = ("run", "submit", "status", "stop", "connect", "image", "render", "doctor", "config", "gc", "version")


def complete(arguments: Sequence[str]) -> list[str]:
    """The arguments with their verb: without one, `run` is meant."""
    words = list(arguments)
    if not words or (words[0].startswith("-") and words[0] not in ("-h", "--help", "--version")):
        words.insert(0, "run")
    return words
