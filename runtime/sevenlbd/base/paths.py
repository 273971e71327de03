"""Paths as users write them."""

from __future__ import annotations

from pathlib import Path


def user_path(text: str) -> Path:
    """A path as a user writes it; a `~` that leads nowhere stays as it is, and is found missing later."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)
