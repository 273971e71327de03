"""Warm states: a machine frozen just before anybody uses it."""

from __future__ import annotations

from typing import Any


def register(verbs: Any) -> None:
    """Add this group's verbs to `7lbd image`."""
