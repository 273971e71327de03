"""The process: python -I -m sevenlbd.outside.egress.relay CONTROL FORWARDS BROKER LIST SESSION.

All but the last are descriptors. CONTROL brings the orders on one line, and takes a heartbeat; its end is ours.
FORWARDS brings the sockets from inside. BROKER leads to the process that opens connections, LIST takes the list of
them. This is the only code outside that looks at a guest's bytes.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ....base import logs, steady_memory
from . import confine, syscall_filter
from .allowed import ORDERS, Allowed
from .dialer import Dialer, Unreached
from .forwarding import Relay
from .journal import Journal, Sheet
from .lines import LINES, Caution, Line, Summary, Trouble
from .reasons import GONE
from .relay_context import RelayContext

log = logging.getLogger(__name__)

_MAX_LIST = 2 << 20  # bytes; some thousands of connections, a line each
_BEAT_SECONDS = 2.0  # relay_watch.py looks as often, and misses a few before it complains


def main(arguments: Sequence[str]) -> int:
    """Serve until the supervisor hangs up; returns the exit code."""
    control, forwards, broker = (socket.socket(fileno=int(descriptor)) for descriptor in arguments[:3])
    try:
        allowed = ORDERS.unpack(control.makefile("rb").readline())
    except (OSError, ValueError) as error:
        _tell(control, Trouble(f"it could not begin: {error}"))
        return 1
    sites = _opened(allowed.log, control)
    _load(allowed)
    confine.relay()
    sheets = [Sheet(int(arguments[3]), _MAX_LIST)] + ([] if sites is None else [Sheet(sites)])
    asyncio.run(_serve(allowed, Journal(arguments[4], sheets), control, forwards, broker))
    return 0


async def _serve(
    allowed: Allowed, journal: Journal, control: socket.socket, forwards: socket.socket, broker: socket.socket
) -> None:
    loop = asyncio.get_running_loop()
    orders_end = asyncio.create_task(_until_end(loop, control))
    dialer = Dialer(broker, orders_end.cancel)
    context = RelayContext(allowed, journal, dialer)
    confine.filtered(syscall_filter.relay)
    context.spawn(Relay(context).take_forwards(forwards))
    context.spawn(context.health.watch())
    context.spawn(steady_memory.keep())
    context.spawn(_beat(loop, control, context))
    await asyncio.wait([orders_end])
    await context.end()
    if orders_end.cancelled():
        _tell(control, Trouble(GONE))
    else:
        _tell(control, Summary(journal.connections, journal.refused, journal.up, journal.down))
    # Last, because a file may hang, and the supervisor does not wait for ever.
    journal.close()


async def _until_end(loop: asyncio.AbstractEventLoop, control: socket.socket) -> None:
    control.setblocking(False)
    try:
        while await loop.sock_recv(control, 4096):
            pass
    except OSError:
        log.warning("the supervisor is gone")


async def _beat(loop: asyncio.AbstractEventLoop, control: socket.socket, context: RelayContext) -> None:
    """Say that we run, and so does the broker, and how the ways out are."""
    while True:
        with suppress(Unreached):
            await context.dialer.ping()
        _tell(control, context.health.told())
        await asyncio.sleep(_BEAT_SECONDS)


def _tell(control: socket.socket, line: Line) -> None:
    """One line; a supervisor that does not listen holds nobody up."""
    with suppress(OSError):
        control.send(LINES.pack(line) + b"\n", socket.MSG_DONTWAIT)


def _load(allowed: Allowed) -> None:
    """What is read from files must be there before there are none: Python's modules, and the time zone."""
    time.tzset()
    if allowed.proxy:
        from . import proxy  # noqa: F401  # not every session has one


def _opened(path: str, control: socket.socket) -> int | None:
    """A new file in the site's folder, where others can write: never one that is there. None when there can be none.

    The name cannot be guessed: whoever knew it could put something there first.
    """
    if not path:
        return None
    try:
        how = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        return os.open(f"{path}-{secrets.token_hex(8)}.jsonl", how, 0o640)
    except OSError as error:
        why = f"the site's list of connections (egress_log) cannot be written: {error.strerror}: {Path(path).parent}"
        _tell(control, Caution(why))
        return None


if __name__ == "__main__":
    logs.begin(logging.INFO)
    steady_memory.begin()
    code = main(sys.argv[1:])
    # A thread that hangs in a file's answer must not keep us.
    logging.shutdown()
    os._exit(code)
