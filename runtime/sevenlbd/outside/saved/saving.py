"""The supervisor's end of the processes that write and read saved desktops: it loads neither zstd nor age."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from ...base.errors import ExitCode, Refusal
from ...base.process import python, spawn
from ...wire import packets
from .messages import (
    ORDERS,
    REPORTS,
    AllRead,
    CannotDo,
    Commit,
    Go,
    HowFar,
    InMemory,
    Order,
    Read,
    Report,
    SetAside,
    Write,
    WriterReady,
    Written,
)

Advance = Callable[[int, int], None]
_CODES = frozenset(ExitCode)


class Worker:
    """A process at work."""

    def __init__(self, wire: socket.socket) -> None:
        self._wire = wire
        self.digest = ""
        """Of the header of the file that it has written, in hex."""
        self.kept = ""
        """Where another session's file is now that lay there; empty when none did."""

    async def send(self, order: Order) -> None:
        """An order. Raises Refusal when nobody hears it."""
        try:
            await asyncio.get_running_loop().sock_sendall(self._wire, ORDERS.pack(order))
        except OSError:
            raise _died() from None

    async def prepared(self) -> None:
        """Wait until it can write. Raises Refusal."""
        if not isinstance(await self._report(), WriterReady):
            raise _died()

    async def done(self, advance: Advance) -> int:
        """Wait until all is done; returns the file's size. Raises Refusal."""
        while True:
            match await self._report():
                case HowFar(done, total):
                    advance(done, total)
                case AllRead(digest):
                    self.digest = digest
                    # Whoever gave it up has not come here: what was read since may be of a machine that runs again.
                    await self.send(Commit())
                case SetAside(path):
                    self.kept = path
                case Written(size):
                    return size

    async def _report(self) -> Report:
        """The next one. Raises Refusal when it has failed, or is gone."""
        try:
            data = await asyncio.get_running_loop().sock_recv(self._wire, packets.MAX_MESSAGE)
        except ConnectionError:
            data = b""
        report = REPORTS.unpack_or_none(data) if data else None
        if isinstance(report, CannotDo):
            code = ExitCode(report.code) if report.code in _CODES else ExitCode.BUG
            raise Refusal(code, report.what, hint=report.hint)
        if report is None:
            raise _died()
        return report


def _died() -> Refusal:
    return Refusal(ExitCode.BROKE, "the process that writes and reads saved desktops died", hint="try again")


@asynccontextmanager
async def writer(order: Write, log_file: Path) -> AsyncIterator[Worker]:
    """A writer that is ready; killed, with what it has written, if it has not ended. Raises Refusal."""
    async with _worker("writer", log_file, order.in_memory) as worker:
        await worker.send(order)
        await worker.prepared()
        yield worker


async def restore(order: Read, log_file: Path, advance: Advance) -> None:
    """Fill a session's files. Raises Refusal."""
    async with _worker("reader", log_file, order.in_memory) as worker:
        await worker.send(order)
        await worker.done(advance)


async def write(worker: Worker, advance: Advance) -> int:
    """Have a writer that is ready write; returns the file's size. Raises Refusal."""
    await worker.send(Go())
    return await worker.done(advance)


@contextmanager
def _lack_told() -> Iterator[None]:
    """A node, or a job, that has no process or file left is no reason for whoever asks to end without a word."""
    try:
        yield
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        what = f"the process that writes and reads saved desktops cannot be started: {where}{error.strerror}"
        raise Refusal(ExitCode.RESOURCES, what, hint="try again when there is room") from None


@asynccontextmanager
async def _worker(name: str, log_file: Path, in_memory: InMemory | None) -> AsyncIterator[Worker]:
    with _lack_told():
        ours, theirs = packets.pair()
        ours.setblocking(False)
        descriptor = os.dup(theirs.fileno())
        theirs.close()
        try:
            inherited = [descriptor, *(in_memory.numbers() if in_memory else ())]
            command = python(f"sevenlbd.outside.saved.{name}", str(descriptor))
            process = await spawn(command, log_file=log_file, pass_fds=inherited, in_a_hurry=True)
        finally:
            os.close(descriptor)
    try:
        yield Worker(ours)
    finally:
        ours.close()
        try:
            # One that is told nothing more ends, and takes back what it has begun.
            await asyncio.wait_for(process.wait(), _END_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()


_END_SECONDS = 5.0  # to remove a file on a file server that is busy
