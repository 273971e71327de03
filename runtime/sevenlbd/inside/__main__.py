"""Entry of the inner side: go through the wall, then be the keeper.

The process that stays in front of the wall only waits, so it loads nothing; PID 1 behind it loads the
keeper while the supervisor still checks the session. Usage: python -I -m sevenlbd.inside FD
"""

from __future__ import annotations

import gc
import os
import socket
import sys
from contextlib import suppress
from types import ModuleType

from ..base import later
from .builder import Builder
from .init import namespace, process_limit


def main() -> None:
    """Enter the namespaces; a node that does not allow it is told of as an event."""
    wire = socket.socket(fileno=int(sys.argv[1]))
    try:
        namespace.enter(os.getuid(), os.getgid())
    except OSError as error:
        from ..wire.keeper import EVENTS, Event, EventKind  # only the one who ends here needs it

        # The supervisor may have refused for another reason already, and gone.
        with suppress(OSError):
            wire.send(EVENTS.pack(Event(EventKind.NO_NAMESPACES, str(error.errno))))
        return
    namespace.close_the_curtain()
    process_limit.limit_session()
    keeper, builder = _loaded(wire)
    keeper.main(wire, builder)


def _loaded(wire: socket.socket) -> tuple[ModuleType, Builder]:
    """The keeper and its builder; ends without a word when whoever wanted them was killed, as the SIF went with it."""
    later.put_off()
    gc.disable()  # nothing that is loaded is garbage
    try:
        builder = Builder()
        from . import keeper
    except (OSError, ImportError):
        if _is_alone(wire):
            sys.exit(1)
        raise
    gc.enable()
    return keeper, builder


def _is_alone(wire: socket.socket) -> bool:
    try:
        return not wire.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


if __name__ == "__main__":
    main()
