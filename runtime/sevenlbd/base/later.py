"""Modules of the library that others import and hardly use: they are loaded when somebody does.

- importlib.metadata, by pydantic, which would look for plugins with it: 12 ms with all that it loads itself
- secrets, for tokens: it loads OpenSSL's digests, a library of 6 MB, for another use of theirs
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any


class _Module(ModuleType):
    """Stands for a module until something is taken out of it."""

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__"):  # the import's own questions
            raise AttributeError(attribute)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), attribute)


class _WithoutPlugins(_Module):
    """`importlib.metadata` as pydantic takes it: it asks for its plugins, and here are none (__main__.py)."""

    @staticmethod
    def entry_points(**_: str) -> tuple[()]:
        """None."""
        return ()


def put_off() -> None:
    """Load none of them until then."""
    sys.modules.setdefault("importlib.metadata", _WithoutPlugins("importlib.metadata"))
    sys.modules.setdefault("secrets", _Module("secrets"))
