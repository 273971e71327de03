"""Carries a TCP connection: bytes from one socket to the other, both ways, by splice(2), and looks at none.

Each direction borrows a pipe while it has bytes under way. A source is not read while its sink does not take what was
read, so that a slow reader slows its writer. An end of input is passed on as such, and a reset as a reset. An urgent
byte (RFC 6093) is passed on in its place, as any other.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import socket
import struct
from contextlib import suppress

from .quotas import Bucket

_CHUNK = 256 * 1024  # bytes of a pipe; a user's pipes may have 64 MiB together (pipe(7), pipe-user-pages-soft)
_FREE_PIPES = 8  # kept for the next connections: a choice between two system calls and 256 KiB each
# Less than any pipe holds (pipe(7): one page, for a user who has many): it is empty when this is written to it.
_PAST_THE_MARK = 4096
_AGAIN_SECONDS = 0.01  # between a busy circle and a delay that is felt
_FLAGS = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK
_RESET = struct.pack("ii", 1, 0)

GUEST, SERVER = "guest", "server"


def reset(wire: socket.socket) -> None:
    """Close with RST instead of FIN (socket(7), SO_LINGER with no time)."""
    with suppress(OSError):
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    wire.close()


class Pipes:
    """Pipes that are empty, to be used again."""

    def __init__(self) -> None:
        self._free: list[tuple[int, int]] = []

    def borrow(self) -> tuple[int, int]:
        """The reading and the writing end. Raises OSError when there are no descriptors left."""
        if self._free:
            return self._free.pop()
        pipe = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        with suppress(OSError):  # who has many pipes is given small ones (pipe(7))
            fcntl.fcntl(pipe[1], fcntl.F_SETPIPE_SZ, _CHUNK)
        return pipe

    def give_back(self, pipe: tuple[int, int], *, empty: bool) -> None:
        """Keep it for the next one."""
        if empty and len(self._free) < _FREE_PIPES:
            self._free.append(pipe)
        else:
            os.close(pipe[0])
            os.close(pipe[1])


_pipes = Pipes()


class Direction:
    def __init__(
        self, pump: Pump, source: socket.socket, sink: socket.socket, who: str, whom: str, rate: Bucket
    ) -> None:
        self._pump = pump
        self._loop = asyncio.get_running_loop()
        self._source, self._sink = source, sink
        self._who, self._whom = who, whom
        self._rate = rate
        self._pipe: tuple[int, int] | None = None
        self._held = 0
        self.bytes = 0
        self.ended = False
        self._over = False

    def begin(self) -> None:
        """Read from now on."""
        if not self._over:
            self._loop.add_reader(self._source, self._fill)

    def stop(self) -> None:
        """Let go of everything but the sockets."""
        self._over = True
        self._loop.remove_reader(self._source)
        self._loop.remove_writer(self._sink)
        if self._pipe:
            _pipes.give_back(self._pipe, empty=not self._held)
            self._pipe = None

    def _go_on(self) -> None:
        """There is something in the bucket again, for whoever takes it now."""
        self.begin()
        if not self._over:
            self._fill()

    def _fill(self) -> None:
        room = self._rate.take(_CHUNK)
        if not room:
            self._loop.remove_reader(self._source)
            self._rate.wait(self._go_on)
            return
        try:
            self._pipe = self._pipe or _pipes.borrow()
            got = self._read(room)
        except BlockingIOError:
            self._rate.give_back(room)
            self._look_again()
            return
        except OSError as error:
            self._pump.broke(self._who, error)
            return
        self._rate.give_back(room - got)
        if not got:
            self._end()
            return
        self.bytes += got
        self._held += got
        self._pump.touch()
        self._drain()
        if self._held and not self._over:
            self._loop.remove_reader(self._source)
            self._await_sink()

    def _read(self, room: int) -> int:
        """Bytes that have come into the pipe; 0 is the end. Raises OSError."""
        assert self._pipe
        try:
            return os.splice(self._source.fileno(), self._pipe[1], room, flags=_FLAGS)
        except BlockingIOError:
            # Before an urgent byte splice(2) stops for good, though the socket is readable; recv(2) goes on.
            data = self._source.recv(min(room, _PAST_THE_MARK))
            return os.write(self._pipe[1], data) if data else 0

    def _look_again(self) -> None:
        """Readable, and nothing to read: whatever it is, it does not get us to ask in a circle."""
        self._loop.remove_reader(self._source)
        self._loop.call_later(_AGAIN_SECONDS, self.begin)

    def _await_sink(self) -> None:
        if self._held and not self._over:
            self._loop.add_writer(self._sink, self._drain_rest)

    def _drain_rest(self) -> None:
        before = self._held
        self._drain()
        if self._over:
            return
        if self._held < before:
            self._pump.touch()
        if not self._held:
            self._loop.remove_writer(self._sink)
            self.begin()
        elif self._held == before:  # writable, and takes nothing
            self._loop.remove_writer(self._sink)
            self._loop.call_later(_AGAIN_SECONDS, self._await_sink)

    def _drain(self) -> None:
        assert self._pipe
        try:
            while self._held:
                self._held -= os.splice(self._pipe[0], self._sink.fileno(), self._held, flags=_FLAGS)
        except BlockingIOError:
            return
        except OSError as error:
            self._pump.broke(self._whom, error)
            return
        _pipes.give_back(self._pipe, empty=True)
        self._pipe = None

    def _end(self) -> None:
        """No more comes from the source: tell the sink."""
        self.ended = True
        self._loop.remove_reader(self._source)
        try:
            self._sink.shutdown(socket.SHUT_WR)
        except OSError as error:
            self._pump.broke(self._whom, error)
        else:
            self._pump.one_ended(self._who)


class Pump:
    """A guest's connection and the server's, coupled. Owns both sockets."""

    def __init__(self, near: socket.socket, far: socket.socket, up: Bucket, down: Bucket, idle: float) -> None:
        self._near, self._far, self._idle = near, far, idle
        self._loop = asyncio.get_running_loop()
        self._over: asyncio.Future[str] = self._loop.create_future()
        self._up = Direction(self, near, far, GUEST, SERVER, up)
        self._down = Direction(self, far, near, SERVER, GUEST, down)
        self._first = ""
        self._touched = self._loop.time()

    @property
    def up(self) -> int:
        """Bytes that came from the guest."""
        return self._up.bytes

    @property
    def down(self) -> int:
        """Bytes that came from the server."""
        return self._down.bytes

    async def run(self) -> str:
        """Until it is over; returns how it ended. Both sockets are closed then, also when this is cancelled."""
        self._timer = self._loop.call_later(self._idle, self._look)
        self._up.begin()
        self._down.begin()
        orderly = False
        try:
            how = await self._over
            orderly = how.startswith("closed")
            return how
        finally:
            self._timer.cancel()
            self._up.stop()
            self._down.stop()
            for wire in (self._near, self._far):
                wire.close() if orderly else reset(wire)

    def touch(self) -> None:
        """Something moved."""
        self._touched = self._loop.time()

    def one_ended(self, who: str) -> None:
        """An end of input; with the second one all is said."""
        self._first = self._first or who
        if self._up.ended and self._down.ended:
            self._finish(f"closed by {self._first}")

    def broke(self, who: str, error: OSError) -> None:
        """A reset, or a peer that is not there any more."""
        gone = isinstance(error, ConnectionError) or error.errno == errno.ENOTCONN
        self._finish(f"reset by {who}" if gone else f"{who}: {error.strerror}")

    def _finish(self, how: str) -> None:
        self._up.stop()
        self._down.stop()
        if not self._over.done():
            self._over.set_result(how)

    def _look(self) -> None:
        left = self._touched + self._idle - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._look)
        else:
            self._finish("idle")
