"""A fork that runs `setup`, with the capabilities that only it needs to use.

It begins before there is a plan, because its libraries take a while to load; it ends when all is
built, and their memory with it. Imports nothing heavy itself.
"""

from __future__ import annotations

import os
import sys
import traceback


class Builder:
    """The set-up process, waiting for its plan."""

    def __init__(self) -> None:
        plan, self._plan = os.pipe()
        self._child = os.fork()
        if self._child == 0:
            os.close(self._plan)
            os._exit(_build(plan))
        os.close(plan)

    def build(self, plan: bytes) -> None:
        """Hand over the packed plan and wait until all is built. Raises RuntimeError; the log says why."""
        with os.fdopen(self._plan, "wb") as pipe:
            pipe.write(plan)
        if os.waitpid(self._child, 0)[1]:
            raise RuntimeError("the network or the servers' configuration could not be made")


def _build(plan: int) -> int:
    try:
        from . import setup

        with os.fdopen(plan, "rb") as pipe:
            setup.build(pipe.read())
    except BaseException:
        traceback.print_exc(file=sys.stderr)
        return 1
    return 0
