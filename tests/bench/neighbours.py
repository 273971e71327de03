"""Others who use the same relay while it is measured, in a process of their own."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_SETTLE_SECONDS = 1.0


@contextmanager
def beside(work: Callable[..., None], *arguments: Any) -> Iterator[None]:
    """`work(*arguments)`, which never ends by itself, goes on for as long as this lasts."""
    process = multiprocessing.get_context("fork").Process(target=work, args=arguments, daemon=True)
    process.start()
    try:
        time.sleep(_SETTLE_SECONDS)
        assert process.is_alive(), "the neighbours have gone"
        yield
        assert process.is_alive(), "the neighbours have gone"
    finally:
        process.kill()
        process.join()
        time.sleep(_SETTLE_SECONDS)
