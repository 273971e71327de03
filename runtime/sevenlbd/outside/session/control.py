"""The session's control socket: how `stop`, `suspend`, `connect --renew` and `image accept` reach a supervisor.

One JSON line in, one out; before that, any number of lines that say how far it is. The socket lies in the session
folder, so that only its user can reach it.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from ...base.errors import ExitCode, Refusal
from ...wire.codec import Codec, Printable
from ...wire.job_files import KILL
from ...wire.keeper import GuestAnswer, GuestCommand
from ..folders import job_folder
from ..folders.job_folder import JobFolder
from ..folders.session_folders import CONTROL
from .guest_calls import GuestCalls
from .suspending import Advance, SuspendOrder

_MAX_LINE = 128 * 1024  # bytes; a script for the guest, or what it printed (inside/vm/agent.py: 64 KiB)
_ORDER_SECONDS = 5.0  # who connects has his order ready
# Certificates are made for it, on a node that may be busy.
_ANSWER_SECONDS = 60.0

Stop = Callable[[str, bool], None]
Renew = Callable[[], Awaitable[None]]
Suspend = Callable[[SuspendOrder, Advance], Awaitable[str]]
_TELL_SECONDS = 0.25  # between two words of how far it is


@dataclass(frozen=True)
class _Order:
    """What is to be done. The one who sends it may be of an older SIF, or a newer one."""

    order: Printable
    now: bool = False
    suspend: SuspendOrder | None = None
    guest: GuestCommand | None = None
    by: str = ""
    """How the guest is asked to shut down: `agent` or `button`."""
    job: str = ""
    """The folder on the share `job` in which the job lies that is to run."""


@dataclass(frozen=True)
class _Reply:
    """Whether it was, and why not; or how far it is."""

    ok: bool = False
    why: Printable = ""
    hint: Printable = ""
    code: int = ExitCode.NO_SESSION
    saved: str = ""
    """The file that the desktop was suspended into."""
    answer: GuestAnswer | None = None
    done: int = 0
    total: int = 0
    """Of so many bytes, `done` are; not 0 while it is not over."""
    what: Printable = ""
    """Of what these are; empty for the file."""


_ORDERS: Codec[_Order] = Codec(_Order)
_REPLIES: Codec[_Reply] = Codec(_Reply)


@asynccontextmanager
async def serve(folder: Path, stop: Stop, renew: Renew, suspend: Suspend, guest: GuestCalls) -> AsyncIterator[None]:
    """Listen while the session lives; `stop(why, at_once)`, `renew()`, `suspend(order, advance)` or one of `guest` is
    called for each order."""

    async def obey(order: _Order, reader: asyncio.StreamReader, advance: Advance) -> _Reply:
        match order.order:
            case "stop":
                stop("stopped by its user", order.now)
            case "renew":
                await renew()
            case "suspend":
                return _Reply(ok=True, saved=await suspend(order.suspend or SuspendOrder(), advance))
            case "guest" if order.guest:
                return _Reply(ok=True, answer=await guest.run(order.guest))
            case "shut-down":
                guest.shut_down(order.by)
            case "job":
                guest.check_job(order.job)
                with job_folder.opened(folder, order.job) as job:
                    return _Reply(ok=True, answer=await _while_there(reader, guest.run_job(order.job), job))
            case other:
                return _Reply(ok=False, why=f"there is no order {other!r}")
        return _Reply(ok=True)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            order = _ORDERS.unpack(await asyncio.wait_for(reader.readline(), _ORDER_SECONDS))
            try:
                reply = await obey(order, reader, _Teller(writer).advance)
            except Refusal as refusal:
                reply = _Reply(ok=False, why=refusal.what, hint=refusal.hint, code=refusal.code)
            except (OSError, RuntimeError) as error:
                reply = _Reply(ok=False, why=str(error))
            writer.write(_REPLIES.pack(reply) + b"\n")
            await writer.drain()
        except (TimeoutError, ValueError, ConnectionError):  # what is no order is a ValueError, too
            pass
        finally:
            writer.close()

    server = await asyncio.start_unix_server(answer, folder / CONTROL, limit=_MAX_LINE)
    async with server:
        yield


async def _while_there(
    reader: asyncio.StreamReader, running: Coroutine[None, None, GuestAnswer], job: JobFolder
) -> GuestAnswer:
    """A job is its caller's: when he is gone nobody waits for it."""
    done, gone = asyncio.ensure_future(running), asyncio.ensure_future(reader.read(1))
    await asyncio.wait((done, gone), return_when=asyncio.FIRST_COMPLETED)
    if not done.done():
        done.cancel()
        job.put(KILL)
        raise ConnectionError
    gone.cancel()
    return await done


class _Teller:
    """Tells whoever ordered something how far it is; who has gone is told nothing."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._told_at = 0.0

    def advance(self, done: int, total: int, what: str) -> None:
        now = time.monotonic()
        if now - self._told_at >= _TELL_SECONDS and total and not self._writer.is_closing():
            self._told_at = now
            self._writer.write(_REPLIES.pack(_Reply(done=done, total=total, what=what)) + b"\n")


def send_stop(folder: Path, *, now: bool) -> None:
    """Tell the session's supervisor to stop. Raises OSError when nobody listens there."""
    _send(folder, _Order("stop", now))


def send_renew(folder: Path) -> str:
    """Have all locks changed; returns why it could not be, or nothing. Raises OSError when nobody listens there."""
    reply = _send(folder, _Order("renew"))
    return "" if reply and reply.ok else (reply and reply.why) or "the session is ending"


def send_shut_down(folder: Path, by: str) -> None:
    """Have the guest asked to shut down in one way alone, `agent` or `button`. Raises OSError as above."""
    _send(folder, _Order("shut-down", by=by))


def send_guest_command(folder: Path, command: Sequence[str], given: bytes, seconds: float) -> GuestAnswer:
    """Run a program in the guest of a session that is examined. Raises OSError when nobody listens there."""
    order = _Order("guest", guest=GuestCommand(0, tuple(command), given, seconds))
    reply = _send(folder, order, seconds + _ANSWER_SECONDS)
    if reply and reply.answer:
        return reply.answer
    return GuestAnswer(0, failure=(reply and reply.why) or "the session is ending")


def send_job(folder: Path, job: str) -> GuestAnswer:
    """Have a session of jobs run one; returns when its hook in the guest has ended, however long that takes.

    Raises OSError when nobody listens there.
    """
    reply = _send(folder, _Order("job", job=job), None)
    if reply and reply.answer:
        return reply.answer
    return GuestAnswer(0, failure=(reply and reply.why) or "the session has ended")


def _send(folder: Path, order: _Order, seconds: float | None = _ANSWER_SECONDS) -> _Reply | None:
    with socket.socket(socket.AF_UNIX) as wire:
        wire.settimeout(seconds)
        wire.connect(str(folder / CONTROL))
        wire.sendall(_ORDERS.pack(order) + b"\n")
        with wire.makefile("rb") as answers:
            return _REPLIES.unpack_or_none(answers.readline(_MAX_LINE))


def send_suspend(folder: Path, order: SuspendOrder, advance: Advance) -> str:
    """Have a session suspended; returns the file's path. Raises Refusal, and OSError when nobody listens there."""
    with socket.socket(socket.AF_UNIX) as wire:
        wire.connect(str(folder / CONTROL))
        wire.sendall(_ORDERS.pack(_Order("suspend", suspend=order)) + b"\n")
        # No time limit: how long it takes is the disk's to say, and the session tells how far it is.
        with wire.makefile("rb") as answers:
            while line := answers.readline(_MAX_LINE):
                reply = _REPLIES.unpack(line)
                if reply.total:
                    advance(reply.done, reply.total, reply.what)
                elif reply.ok:
                    return reply.saved
                else:
                    raise _refusal(reply)
    raise OSError("the session ended meanwhile")


def _refusal(reply: _Reply) -> Refusal:
    code = ExitCode(reply.code) if reply.code in set(ExitCode) else ExitCode.NO_SESSION
    return Refusal(code, reply.why, hint=reply.hint or "7lbd status")
