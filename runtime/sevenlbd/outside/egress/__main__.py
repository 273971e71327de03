"""The process: python -I -m sevenlbd.outside.egress CONTROL DOORS LIST SESSION (descriptors, and the session's name).

CONTROL brings the orders on one line; its end is ours. DOORS brings the sockets from inside. LIST takes the list of
connections. This is the only code outside that a guest's bytes come to.
"""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import socket
import stat
import sys
from collections.abc import Sequence
from contextlib import suppress

from . import confine
from .allowed import Allowed, unpack
from .house import House
from .journal import Journal, Sheet
from .relay import Relay

log = logging.getLogger(__name__)

_MAX_LIST = 2 << 20


def main(words: Sequence[str]) -> int:
    """Serve until the supervisor hangs up; returns the exit code."""
    control = socket.socket(fileno=int(words[0]))
    doors = socket.socket(fileno=int(words[1]))
    orders = control.makefile("rb")
    try:
        allowed = unpack(orders.readline())
        sites = _opened(allowed.log) if allowed.log else None
    except (OSError, ValueError) as error:
        control.sendall(json.dumps({"trouble": f"it could not begin: {error}"}).encode() + b"\n")
        return 1
    confine.confine(allowed)
    sheets = [Sheet(int(words[2]), _MAX_LIST)] + ([] if sites is None else [Sheet(sites)])
    asyncio.run(_serve(allowed, Journal(words[3], sheets), control, doors))
    return 0


async def _serve(allowed: Allowed, journal: Journal, control: socket.socket, doors: socket.socket) -> None:
    house = House(allowed, journal)
    house.spawn(Relay(house).take_doors(doors))
    control.setblocking(False)
    loop = asyncio.get_running_loop()
    try:
        while await loop.sock_recv(control, 4096):
            pass
    except OSError:
        log.warning("the supervisor is gone")
    await house.end()
    summed = {"connections": journal.connections, "refused": journal.refused, "up": journal.up, "down": journal.down}
    with suppress(OSError):
        await loop.sock_sendall(control, json.dumps(summed).encode() + b"\n")
    # Last, because a file may hang, and the supervisor does not wait for ever.
    journal.close()


def _opened(path: str) -> int:
    """The site's file, which others can write beside: it is ours and a file, or it is not written. Raises OSError."""
    how = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    number = os.open(path, how, 0o640)
    found = os.fstat(number)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
        os.close(number)
        raise OSError(errno.EPERM, "somebody else put something there", path)
    return number


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    code = main(sys.argv[1:])
    # A thread that hangs in a name server's or a file's answer must not keep us.
    logging.shutdown()
    os._exit(code)
