"""The program: parse, then do what the verb says. Only here are refusals printed and exit codes chosen."""

from __future__ import annotations

import errno
import gc
import os
import sys
from collections.abc import Sequence

from .base import appliance, later
from .base.errors import ExitCode, Refusal
from .outside.cli import verbs
from .outside.console import terminal
from .outside.node import rlimits

# What a node in trouble answers to a program without a fault.
_TROUBLE = {
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE,
    errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM, errno.ENOTCONN,
}  # fmt: skip
# What a place answers that is closed to the caller, or that no path can lead to.
_CLOSED = {errno.EACCES, errno.ELOOP, errno.ENAMETOOLONG}

_SESSIONS = ("run", "resume", "exec")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    umask = os.umask(0o077)
    # Nobody's plugins have a place in here; to look for some, pydantic reads every package's metadata: 20 ms.
    os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"
    later.put_off()
    try:
        try:
            return _run(sys.argv[1:] if arguments is None else arguments, umask)
        finally:
            _flush()
    except Refusal as refusal:
        terminal.say_text(f"7lbd: {refusal}", error=True)
        return refusal.code
    except BrokenPipeError:
        # Whoever read our output has gone: nothing is wrong on this side.
        _say_no_more()
        return ExitCode.OK
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except (OSError, ImportError) as failed:
        error = appliance.gone() or (failed if isinstance(failed, OSError) else None)
        if error is not None and error.errno in _TROUBLE:
            code, hint = ExitCode.RESOURCES, "7lbd doctor"
        elif error is not None and error.errno in _CLOSED and error.filename:
            code, hint = ExitCode.USAGE, "name another place, or have its owner open it to you"
        else:
            raise
        _say_no_more()
        terminal.say(f"7lbd: {error.filename or 'this node'}: {error.strerror}", f"  {hint}", error=True)
        return code


def _flush() -> None:
    """Print what waits. Raises OSError that names where it could not be written, a job's log say."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OSError(error.errno, error.strerror, terminal.output_of(1)) from None


def _run(arguments: Sequence[str], umask: int) -> int:
    words = verbs.complete(arguments)
    if words[0] in (*_SESSIONS, "image"):
        rlimits.raise_soft()
    if words[0] == "exec":
        from .outside.batch import entry

        return entry.run(words, umask)
    if words[0] in _SESSIONS:
        from .outside.session import launch

        return launch.run(words, umask)
    gc.disable()  # until all is loaded (dispatch.py)
    from .outside.cli import dispatch

    return dispatch.run(words, umask)


def _say_no_more() -> None:
    """Let what is still to be printed go nowhere, instead of failing once more at the very end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


if __name__ == "__main__":
    raise SystemExit(main())
