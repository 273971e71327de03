"""The program: parse, then do what the verb says. Only here are refusals printed and exit codes chosen."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from .errors import ExitCode, Refusal
from .outside import cli


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    umask = os.umask(0o077)
    options = cli.parse(sys.argv[1:] if arguments is None else arguments)
    from .outside import commands

    try:
        return commands.VERBS[options.verb](options, umask)
    except Refusal as refusal:
        print(f"7lbd: {refusal}", file=sys.stderr)
        return refusal.code
    except BrokenPipeError:
        # Whoever read our output has gone: nothing is wrong on this side.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return ExitCode.OK
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED


if __name__ == "__main__":
    raise SystemExit(main())
