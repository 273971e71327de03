"""reaper.py PROGRAM ARGUMENT...: runs a program and buries whatever its descendants leave, as a node's init does.

Slurm takes a dead process that nobody waited for as one that still runs (proctrack/pgid). Ends when the program does.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_CHILD_SUBREAPER = 36


def main() -> int:
    """Run the program; returns its exit code."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
    while True:
        ended, status = os.wait()
        if ended == child:
            return abs(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    raise SystemExit(main())
