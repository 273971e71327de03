"""One call of a verb: parse, check the settings, do it. `run` alone begins elsewhere (`launch`), before all that."""

from __future__ import annotations

import gc
import signal
from collections.abc import Sequence
from typing import NoReturn

from ...base.errors import ExitCode
from . import command_line
from .command import CommandContext
from .verbs import Group


def run(words: Sequence[str], umask: int) -> int:
    """Do what the words say; returns the exit code. Raises Refusal."""
    verb, options = command_line.parse(words)
    command = command_line.command(verb)
    context = CommandContext(options, umask)
    _unwind_on_interrupt()
    if command.checks_settings:
        _ = context.settings
    gc.enable()
    if verb.group is Group.IMAGES:
        # What is half made is taken back, as after Ctrl-C.
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _end)
    assert command.call is not None, f"`{verb.name}` does not begin here"
    return command.call(context)


def _unwind_on_interrupt() -> None:
    """From now on Ctrl-C raises KeyboardInterrupt; while our modules were loaded it just ended the process."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(_number: int, _frame: object) -> NoReturn:
    raise SystemExit(ExitCode.TERMINATED)
