"""A server's memory stands still: after a week of visitors it is as large as after its first hundred.

Two things make it creep. The C library's malloc takes a buffer as large as one that was freed before from the heap, no
longer from the kernel (mallopt(3), M_MMAP_THRESHOLD), and what is small and lasts comes to lie above it and keeps its
pages; and each thread may have a heap of its own. Python's garbage collector counts objects and knows nothing of their
size: what a broken connection leaves, a cycle with buffers in it, waits for ten thousands of others, for hours.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # <malloc.h>
_LARGE = 128 * 1024  # bytes; what malloc begins with, and stays at once it was said
_COLLECT_SECONDS = 5.0  # longer than a connection lingers; looking at what has come since the start takes 1 ms


def begin() -> None:
    """Large buffers come from the kernel and go back to it, and all threads have one heap. Before there are threads."""
    libc = ctypes.CDLL(None)
    for what, value in ((_M_MMAP_THRESHOLD, _LARGE), (_M_TRIM_THRESHOLD, _LARGE), (_M_ARENA_MAX, 1)):
        libc.mallopt(what, value)


async def keep() -> None:
    """Let go of garbage every few seconds until cancelled. What is there at the beginning is never looked at again."""
    gc.freeze()
    while True:
        await asyncio.sleep(_COLLECT_SECONDS)
        gc.collect()
