"""A fork that runs `setup`, with the capabilities that only it needs to use.

It begins before there is a plan, because its libraries take a while to load; it ends when all is
built, and their memory with it. Imports nothing heavy itself.
"""

from __future__ import annotations

import os
import sys
import traceback

_MAX_WHY = 1024  # fits in a pipe that nobody reads yet


class Builder:
    """The set-up process, waiting for its plan."""

    def __init__(self) -> None:
        plan, self._plan = os.pipe()
        self._trouble, trouble = os.pipe()
        self._built = False
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._plan)
            os.close(self._trouble)
            os._exit(_build(plan, trouble))
        os.close(plan)
        os.close(trouble)

    def begin(self, plan: bytes) -> None:
        """Hand over the packed plan."""
        with os.fdopen(self._plan, "wb") as pipe:
            pipe.write(plan)

    def finish(self) -> None:
        """Wait until all is built. Raises RuntimeError that says why."""
        if not self._built and os.waitpid(self.pid, 0)[1]:
            why = os.read(self._trouble, _MAX_WHY).decode(errors="replace") or "its process died"
            raise RuntimeError(f"the network or the servers' configuration could not be made: {why}")
        if not self._built:
            os.close(self._trouble)
        self._built = True


def _build(plan: int, trouble: int) -> int:
    try:
        from . import setup
    except (OSError, ImportError) as error:
        # The SIF is gone, and what prints a traceback cannot be loaded either; the keeper tells it, if it is there.
        os.write(trouble, str(error).encode(errors="replace")[:_MAX_WHY])
        return 1
    try:
        with os.fdopen(plan, "rb") as pipe:
            setup.build(pipe.read())
    except BaseException as error:
        traceback.print_exc(file=sys.stderr)
        os.write(trouble, str(error).encode(errors="replace")[:_MAX_WHY])
        return 1
    return 0
