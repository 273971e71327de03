"""What both processes do alike: hear their orders on a descriptor, tell how far they are, and how it ended."""

from __future__ import annotations

import os
import socket
import sys
import time
import traceback
from collections.abc import Callable

from ...base.errors import ExitCode, Refusal
from ...wire import packets
from .messages import ORDERS, REPORTS, CannotDo, HowFar, Order, Report, Written
from .saved_format import Damaged

_TELL_SECONDS = 0.25  # a bar that moves; each is a message


class Supervisor:
    """Whom a worker talks to."""

    def __init__(self, wire: socket.socket) -> None:
        self._wire = wire

    def order(self) -> Order:
        """The next order. Raises SystemExit when there is none any more."""
        data = self._wire.recv(packets.MAX_MESSAGE)
        if not data:
            raise SystemExit(ExitCode.OK)
        return ORDERS.unpack(data)

    def tell(self, report: Report) -> None:
        """Tell something. Raises OSError when nobody is there."""
        self._wire.send(REPORTS.pack(report))


class Counter:
    """How far it is, told now and then."""

    def __init__(self, supervisor: Supervisor, total: int) -> None:
        self._supervisor = supervisor
        self._total = total
        self._done = 0
        self._told_at = 0.0

    def advance(self, count: int) -> None:
        """So many bytes more."""
        self._done += count
        now = time.monotonic()
        if now - self._told_at >= _TELL_SECONDS:
            self._told_at = now
            self._supervisor.tell(HowFar(min(self._done, self._total), self._total))


def run(work: Callable[[Supervisor], int]) -> None:
    """Do the work with the supervisor at the descriptor that the command names; `work` returns the file's size."""
    os.umask(0o077)
    supervisor = Supervisor(socket.socket(fileno=int(sys.argv[1])))
    try:
        report: Report = Written(work(supervisor))
    except Refusal as refusal:
        report = CannotDo(refusal.code, refusal.what, refusal.hint)
    except Damaged as damage:
        report = CannotDo(ExitCode.USAGE, f"the saved desktop cannot be used: {damage}", "nothing of it has run")
    except OSError as error:
        what = f"{error.filename or 'the file'}: {error.strerror or error}"
        report = CannotDo(ExitCode.RESOURCES, what, "make room there, or choose another place")
    except Exception as error:
        traceback.print_exc()
        report = CannotDo(ExitCode.BUG, f"a fault of 7lbd itself: {error!r}", "the session's log has more")
    supervisor.tell(report)
