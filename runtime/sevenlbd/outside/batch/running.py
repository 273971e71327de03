"""Streams, time and signals while a command runs in the guest. Knows nothing of how its session came to be."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from ...wire.job_files import KILL, STOP
from ..folders.job_folder import JobFolder
from .pieces import MAX_PIECE, PieceReader, PieceWriter
from .sinks import Sinks
from .verdict import CommandEnd, OwnCode, failed, lost
from .verdict import read as read_verdict

_POLL = 0.02  # seconds; what a line of output waits for at most, beside the share
_POLITE_SECONDS = 10.0  # a guess: as docker stop, for a solver to write what it has
_LAST_PIECES = 256  # a guess: a killed command's output waits for nobody: more than some windows of pieces
_ONE_SIGNAL_SECONDS = 1.0  # a Ctrl-C comes from the terminal and again from Apptainer, within milliseconds
_KILL_SECONDS = 20.0  # a guess: for the guest to say so; a busy node under emulation needs some


@dataclass
class Running:
    """A command in the guest. `ask_alive` says why the session is over, or nothing while it is not."""

    source: int | None
    """Descriptor of the standard input; None when there is none."""
    sinks: Sinks
    ask_alive: Callable[[], str]
    timeout: float | None = None
    polite: float = _POLITE_SECONDS
    leave_at: float = float("inf")
    """When it is asked to end, as by a signal, since its machine will: seconds since the epoch."""
    _rest: bytearray = field(default_factory=bytearray, init=False)
    _urge: int = field(default=0, init=False)
    _urged_at: float = field(default=float("-inf"), init=False)
    _because: CommandEnd | None = field(default=None, init=False)
    _ends_at: float = field(default=float("inf"), init=False)
    _kill_at: float = field(default=float("inf"), init=False)
    _give_up_at: float = field(default=float("inf"), init=False)

    def urge(self) -> None:
        """Ask it to end: politely, and the second time at once. May be called by a signal handler."""
        now = time.monotonic()
        if now - self._urged_at >= _ONE_SIGNAL_SECONDS:
            self._urged_at = now
            self._urge += 1

    @property
    def urged(self) -> int:
        """How often it was asked to end."""
        return self._urge

    def wait(self, folder: JobFolder) -> CommandEnd:
        """Move its streams until it has ended, and all that it printed is taken.

        Out of time is told whatever the program made of being asked to end.
        """
        sinks = self.sinks
        streams = [
            PieceReader(folder, "stdout", sinks.out, lambda: sinks.waiting("stdout")),
            PieceReader(folder, "stderr", sinks.err, lambda: sinks.waiting("stderr")),
        ]
        given = PieceWriter(folder, "stdin") if self.source is not None else None
        if self.timeout is not None:
            self._ends_at = time.monotonic() + self.timeout
        try:
            while True:
                # Looked at before the streams: what was printed before the end is there when the end is.
                verdict = read_verdict(folder)
                moved = sum(stream.pump() for stream in streams) > 0
                if verdict is not None:
                    return self._handed_on(streams, verdict)
                if (why := self.ask_alive()) and (verdict := read_verdict(folder)) is None:
                    return self._because or lost(why)
                if verdict is not None:
                    continue
                if gone := self._pressed(folder):
                    return gone
                given = self._feed(given, 0.0 if moved else _POLL)
        except BrokenPipeError:
            return self._killed(folder, "nobody reads what the command prints")
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            return self._killed(folder, f"its streams cannot be moved: {where}{error.strerror}")

    def _handed_on(self, streams: Sequence[PieceReader], verdict: CommandEnd) -> CommandEnd:
        """What was printed last. Whoever reads it may take his time, until we are asked to end.

        A guest that goes on for ever has said that it is over.
        """
        left, urged, until = _LAST_PIECES, max(self._urge, 1), float("inf")
        while left > 0:
            moved = sum(stream.pump() for stream in streams)
            left -= moved
            if moved:
                continue
            if not any(stream.waiting() for stream in streams):
                break
            if self._is_asked():
                until = min(until, time.monotonic() + self.polite)
            if self._urge > urged or time.monotonic() > until:
                return self._because or failed(f"not all that it printed was taken, and it ended with {verdict.code}")
            time.sleep(_POLL)
        return self._because or verdict

    def _killed(self, folder: JobFolder, why: str) -> CommandEnd:
        """It goes no further; told when the guest has ended it, since it would run on beside the next one."""
        folder.put(KILL)
        until = time.monotonic() + _KILL_SECONDS
        while time.monotonic() < until:
            if read_verdict(folder) is not None or self.ask_alive():
                return failed(why)
            time.sleep(_POLL)
        return lost(f"{why}, and the guest does not end it")

    def _is_asked(self) -> bool:
        """Whether it is to end: by a signal, or because it is out of time."""
        if time.monotonic() > self._ends_at and self._because is None:
            self._because = failed(f"it was not done within {self.timeout:g} s", OwnCode.TIMED_OUT)
            self._urge = max(self._urge, 1)
        if time.time() >= self.leave_at:
            self._urge = max(self._urge, 1)
        return self._urge > 0

    def _pressed(self, folder: JobFolder) -> CommandEnd | None:
        """Ask it to end when it is time to, and harder when it does not."""
        now = time.monotonic()
        if self._is_asked() and self._kill_at == float("inf"):
            folder.put(STOP)
            self._kill_at = now + self.polite
        if self._give_up_at == float("inf") and (self._urge > 1 or now > self._kill_at):
            folder.put(KILL)
            self._give_up_at = now + _KILL_SECONDS
        if now > self._give_up_at:
            return replace(self._because, lost=True) if self._because else lost("the guest does not end it")
        return None

    def _feed(self, given: PieceWriter | None, seconds: float) -> PieceWriter | None:
        """Hand on some of the standard input, or wait a moment. Returns None when all is said.

        At once to a command that waits for it; while it has enough to read, in large pieces: each costs round trips.
        """
        if given is None or self.source is None or len(self._rest) == MAX_PIECE:
            time.sleep(seconds)
        elif select.select([self.source], [], [], seconds)[0]:
            more = _gathered(self.source, MAX_PIECE - len(self._rest))
            self._rest += more
            if not more:
                self.source = None
        if given is None or given.full:
            return given
        if self._rest and (self.source is None or len(self._rest) == MAX_PIECE or given.is_taken):
            given.write(bytes(self._rest))
            self._rest.clear()
        if self.source is None and not self._rest and not given.full:
            given.write(b"")
            return None
        return given


def _gathered(source: int, most: int) -> bytes:
    """What is there by now: a pipe gives 64 KiB at a time. Nothing at its end."""
    piece = os.read(source, most)
    while piece and len(piece) < most and select.select([source], [], [], 0)[0]:
        more = os.read(source, most - len(piece))
        if not more:  # the end is told the next time
            break
        piece += more
    return piece
