"""The list of connections: who reached what, for how long, how many bytes, how it ended. One JSON object a line.

A guest can open connections without end; it cannot fill the node's disk by it. Beyond a rate of lines, connections to
the same place are added up and told together, so that none is missing from the sums. A file that does not take a line
(a full disk, a shared folder that hangs) holds nobody up: each has a thread of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import queue
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

_LINES_AT_ONCE, _LINES_A_SECOND = 1000, 2.0  # a desktop's start at once; 170,000 lines a day at most
_SUM_SECONDS = 300.0  # connections that got no line of their own are told together, so often
_WAITING_LINES = 4096  # about 1 MB, while the file server does not answer
_PLACES = 1024  # sums that are kept; whatever else a guest thinks of goes under one heading
_LAST_WORDS_SECONDS = 1.0  # twice at most: a file server that is away does not hold up the end
_MAX_HOST = 255  # RFC 1035, 2.3.4: octets of a name


@dataclass(frozen=True)
class ConnectionRecord:
    """One connection that is over, or one that was refused. Times in seconds, bytes of payload."""

    start: float
    """Seconds since the epoch."""
    seconds: float
    kind: str
    """`tcp`, `udp`, `connect` or `http`."""
    host: str
    """The name that the guest knows it by, as far as there is one."""
    address: str
    port: int
    up: int
    """To the server."""
    down: int
    end: str
    refused: bool = False
    """Whether nothing was connected at all."""


class Sheet:
    """One file, written by a thread of its own. With a `limit` in bytes it begins anew when it is full."""

    def __init__(self, descriptor: int, limit: int = 0) -> None:
        self._file = descriptor
        self._limit = limit
        self._lines: queue.Queue[bytes] = queue.Queue(_WAITING_LINES)
        # Each is counted in one thread only: lines that found no room, and those that the file did not take.
        self._dropped = self._failed = self._told = 0
        self._thread = threading.Thread(target=self._write_all, name="journal", daemon=True)
        self._thread.start()

    def add(self, line: bytes) -> None:
        """Write it when there is time; a line too many is counted."""
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self._dropped += 1

    def close(self) -> None:
        """Write what waits, unless that takes too long."""
        try:
            self._lines.put(b"", timeout=_LAST_WORDS_SECONDS)
        except queue.Full:
            return
        self._thread.join(_LAST_WORDS_SECONDS)

    @property
    def lost(self) -> int:
        """Lines that are missing, and not told yet."""
        return self._dropped + self._failed - self._told

    def _write_all(self) -> None:
        while line := self._lines.get():
            if (lost := self.lost) and self._write(json.dumps({"lost_lines": lost}).encode() + b"\n"):
                self._told += lost
            self._failed += not self._write(line)

    def _write(self, line: bytes) -> bool:
        try:
            if self._limit and os.fstat(self._file).st_size > self._limit:
                os.ftruncate(self._file, 0)
            return os.write(self._file, line) == len(line)
        except OSError:
            return False


class Journal:
    """Takes records, counts them all, and writes them to its sheets at a bounded rate."""

    def __init__(self, session: str, sheets: Sequence[Sheet]) -> None:
        self._session = session
        self._sheets = sheets
        self._tokens, self._filled = float(_LINES_AT_ONCE), 0.0
        self._sums: dict[tuple[str, str, str, int, bool], _Sum] = {}
        self._timer: asyncio.TimerHandle | None = None
        self.connections = self.refused = self.up = self.down = 0

    def add(self, record: ConnectionRecord) -> None:
        """A connection is over."""
        self.connections += not record.refused
        self.refused += record.refused
        self.up += record.up
        self.down += record.down
        if self._may_write():
            line = {"session": self._session, **asdict(record), "host": record.host[:_MAX_HOST]}
            self._write(line | {"start": _spell(record.start), "seconds": round(record.seconds, 3)})
        else:
            self._sum_up(record)

    def close(self) -> None:
        """Write the sums and whatever waits."""
        self._tell_sums()
        for sheet in self._sheets:
            sheet.close()

    def _may_write(self) -> bool:
        now = asyncio.get_running_loop().time()
        self._tokens = min(_LINES_AT_ONCE, self._tokens + (now - self._filled) * _LINES_A_SECOND)
        self._filled = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def _sum_up(self, record: ConnectionRecord) -> None:
        # What a guest asked for in vain may be any name: those go under one heading.
        destination = ("", "", 0) if record.refused else (record.host[:_MAX_HOST], record.address, record.port)
        key = (record.kind, *destination, record.refused)
        if key not in self._sums and len(self._sums) >= _PLACES:
            key = (record.kind, "", "", 0, record.refused)
        self._sums.setdefault(key, _Sum(record.start)).add(record)
        if not self._timer:
            self._timer = asyncio.get_running_loop().call_later(_SUM_SECONDS, self._tell_sums)

    def _tell_sums(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        for (kind, host, address, port, refused), total in self._sums.items():
            line = {"session": self._session, "kind": kind, "host": host, "address": address, "port": port}
            self._write({**line, "refused": refused, **asdict(total), "start": _spell(total.start)})
        self._sums.clear()

    def _write(self, line: dict[str, object]) -> None:
        # ASCII only: nothing that a guest says reaches a terminal or breaks a line.
        packed = json.dumps(line).encode() + b"\n"
        for sheet in self._sheets:
            sheet.add(packed)


@dataclass
class _Sum:
    """Connections that were too many to tell one by one."""

    start: float
    connections: int = 0
    seconds: float = 0.0
    up: int = 0
    down: int = 0
    end: str = "added up"

    def add(self, record: ConnectionRecord) -> None:
        self.connections += 1
        self.seconds = round(self.seconds + record.seconds, 3)
        self.up += record.up
        self.down += record.down


def _spell(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
