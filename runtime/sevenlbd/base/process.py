"""The one place that starts processes: argument lists, a curated environment, death with the parent.

It must not know what it starts, and never puts a secret into an argument or the environment.
"""

from __future__ import annotations

import asyncio
import logging
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

log = logging.getLogger(__name__)

# What a helper sees of the world: nothing of the user's environment reaches it.
started: set[int] = set()
"""PIDs of every process started here; a process that reaps orphans must leave these to their waiters."""

ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin", "LANG": "C.UTF-8", "HOME": "/nonexistent", "TMPDIR": "/tmp"}


def python(module: str, *arguments: str) -> list[str]:
    """The command that runs a module of this package in an interpreter of its own, isolated (-I)."""
    return [sys.executable, "-I", "-m", module, *arguments]


def _confined(command: Sequence[str]) -> list[str]:
    """`command` under setpriv(1): killed with its parent, and never with more privileges than it starts with."""
    return ["/usr/bin/setpriv", "--pdeathsig=KILL", "--no-new-privs", "--", *command]


async def spawn(
    command: Sequence[str],
    *,
    log_file: Path | None = None,
    pass_fds: Sequence[int] = (),
    environment: dict[str, str] | None = None,
) -> asyncio.subprocess.Process:
    """Start a helper; its output goes to `log_file`, or to ours.

    Raises OSError when the program cannot be started.
    """
    log.debug("+ %s", shlex.join(command))
    output = log_file.open("ab", buffering=0) if log_file else None
    try:
        process = await asyncio.create_subprocess_exec(
            *_confined(command),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=ENVIRONMENT | (environment or {}),
            pass_fds=pass_fds,
            # A Ctrl-C belongs to the supervisor alone: it runs the stop ladder.
            start_new_session=True,
        )
        started.add(process.pid)
        return process
    finally:
        if output:
            output.close()


def piped(command: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start a helper whose output, errors included, is read as it comes. For programs without an event loop."""
    log.debug("+ %s", shlex.join(command))
    return subprocess.Popen(
        _confined(command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=ENVIRONMENT,
        start_new_session=True,
    )


async def finish(command: Sequence[str], *, stdin: bytes = b"") -> str:
    """Run a short command to its end and return what it printed.

    Raises RuntimeError with the command, its exit code and its output when it fails.
    """
    log.debug("+ %s", shlex.join(command))
    process = await asyncio.create_subprocess_exec(
        *_confined(command),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=ENVIRONMENT,
        start_new_session=True,
    )
    started.add(process.pid)
    printed, _ = await process.communicate(stdin)
    text = printed.decode(errors="replace")
    if process.returncode:
        raise RuntimeError(f"{shlex.join(command)} exited with {process.returncode}: {text.strip()}")
    return text
