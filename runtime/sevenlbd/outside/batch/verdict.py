"""How a command ended, as the guest says in `ended.json`, and which exit code says so.

Our own failures have the codes that other container tools give theirs, so that a workflow can tell them from the
program's: 125 ours, 124 out of time (as timeout(1)), 126 and 127 as a shell has them.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import IntEnum

from ...base.errors import visible
from ...wire.job_files import ENDED
from ..folders.job_folder import JobFolder

_MAX_ENDED = 4096  # bytes; a number and a sentence
_MAX_SAID = 300  # characters of it that people are shown
_SIGNALLED = 128  # what a shell adds to a signal's number
_MAX_SIGNAL = 64  # signal(7): SIGRTMAX
_WORD = 1 << 32  # GetExitCodeProcess: a DWORD


class OwnCode(IntEnum):
    """What is never the program's."""

    TIMED_OUT = 124
    FAILED = 125
    NOT_RUNNABLE = 126
    NOT_FOUND = 127


_FAILURES = {"not-found": OwnCode.NOT_FOUND, "not-runnable": OwnCode.NOT_RUNNABLE}


@dataclass(frozen=True)
class CommandEnd:
    """The exit code, whether it is the program's own, the number that its system gave, and why there is none."""

    code: int
    own: bool = True
    full: int | None = None
    """All of the number: Windows' has 32 bits, of which a process of the node's can pass on 8."""
    said: str = ""
    lost: bool = False
    """The machine did not bring it to an end, and cannot be trusted with another one."""

    def event(self) -> dict[str, object]:
        """As `--json` prints it."""
        return {"event": "ended", "code": self.code, "program": self.own, "full": self.full, "said": self.said}


def failed(said: str, code: OwnCode = OwnCode.FAILED) -> CommandEnd:
    """It is not the program that has ended."""
    return CommandEnd(int(code), own=False, said=visible(said, _MAX_SAID))


def interrupted(signal: int) -> CommandEnd:
    """A signal came before it began."""
    return replace(failed("it was interrupted before it began"), code=_SIGNALLED + signal)


def lost(said: str) -> CommandEnd:
    """It has not ended: its machine is gone, or answers no more."""
    return replace(failed(said), lost=True)


def read(folder: JobFolder) -> CommandEnd | None:
    """What the guest says; None while it says nothing."""
    try:
        text = folder.read(ENDED, _MAX_ENDED)
    except FileNotFoundError:
        return None
    except OSError as error:
        return failed(f"the guest left something that is no {ENDED}: {error.strerror}")
    said: object = None
    with suppress(ValueError, RecursionError):
        said = json.loads(text)
    return _judged(said) if isinstance(said, dict) else failed(f"the guest's {ENDED} says nothing")


def _judged(said: dict[str, object]) -> CommandEnd:
    words = said.get("said")
    if (why := said.get("failed")) is not None:
        code = _FAILURES.get(str(why), OwnCode.FAILED)
        return failed(words if isinstance(words, str) else "the guest does not say why", code)
    signal = said.get("signal")
    if type(signal) is int and 0 < signal <= _MAX_SIGNAL:
        return CommandEnd(_SIGNALLED + signal, full=_SIGNALLED + signal, said=f"ended by signal {signal}")
    number = said.get("code")
    if type(number) is not int or not -_WORD < number < _WORD:
        return failed(f"the guest's {ENDED} has no exit code")
    return CommandEnd(_passed_on(number % _WORD), full=number % _WORD)


def _passed_on(code: int) -> int:
    """What a process of the node's can end with; a failure stays one when its lowest 8 bits are zero."""
    return code & 0xFF or int(code != 0)
