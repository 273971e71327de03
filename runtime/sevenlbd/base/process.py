"""The one place that starts processes: argument lists, a curated environment, death with the parent.

It must not know what it starts, and never puts a secret into an argument or the environment.
"""

from __future__ import annotations

import logging
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

from . import priority

log = logging.getLogger(__name__)

started: set[int] = set()
"""PIDs of every process started here; a process that reaps orphans must leave these to their waiters."""
type Piped = subprocess.Popen[bytes]
END_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
"""What asks a session or a command to end: SIGUSR1 by Slurm before the walltime, for instance (sbatch(1), --signal)."""
# What a helper sees of the world: nothing of the user's environment reaches it.
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin", "LANG": "C.UTF-8", "HOME": "/nonexistent", "TMPDIR": "/tmp"}
_START = "/usr/lib/7lbd/sevenlbd/start.py"
_GRACE_SECONDS = 5.0  # how long a program that is told to end may tidy up


@dataclass(frozen=True)
class Done:
    """What a program came to. `said` is what it wrote to its standard error, for people."""

    code: int
    printed: str
    said: str


def python(module: str, *arguments: str) -> list[str]:
    """The command that runs a module of this package in an interpreter of its own, isolated and without site (-IS)."""
    return [sys.executable, "-IS", _START, module, *arguments]


def _confined(command: Sequence[str]) -> list[str]:
    """`command` under setpriv(1): killed with its parent, and never with more privileges than it starts with."""
    return ["/usr/bin/setpriv", "--pdeathsig=KILL", "--no-new-privs", "--", *command]


async def spawn(
    command: Sequence[str],
    *,
    log_file: Path | None = None,
    pass_fds: Sequence[int] = (),
    environment: dict[str, str] | None = None,
    in_a_hurry: bool = False,
) -> asyncio.subprocess.Process:
    """Start a helper; its output goes to `log_file`, or to ours. One `in_a_hurry` does not give way to anybody.

    Raises OSError when the program cannot be started.
    """
    import asyncio  # those without an event loop, a session's checker say, do without its 30 ms

    log.debug("+ %s", shlex.join(command))
    output = log_file.open("ab", buffering=0) if log_file else None
    try:
        process = await asyncio.create_subprocess_exec(
            *_confined(command if in_a_hurry else [*priority.prefix(), *command]),
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


@contextmanager
def piped(
    command: Sequence[str], *, environment: Mapping[str, str] = ENVIRONMENT, pass_fds: Sequence[int] = ()
) -> Iterator[Piped]:
    """A helper whose output, errors included, is read as it comes; it ends with us: when we are interrupted, it is.

    For programs without an event loop. Another `environment` is for the appliance itself: it reads its settings there.
    """
    log.debug("+ %s", shlex.join(command))
    running = subprocess.Popen(
        _confined(command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        pass_fds=pass_fds,
        start_new_session=True,
    )
    started.add(running.pid)
    try:
        yield running
        running.wait()
    finally:
        if running.poll() is None:
            running.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                running.wait(_GRACE_SECONDS)
            running.kill()
            running.wait()
        if running.stdout:
            running.stdout.close()


def run(command: Sequence[str], *, stdin: str = "", seconds: float | None = None, pass_fds: Sequence[int] = ()) -> Done:
    """Run a short command to its end. For programs without an event loop.

    Raises OSError, which it also is when the command does not come to an end (TimeoutError).
    """
    return _run(_confined(command), ENVIRONMENT, stdin, seconds, pass_fds)


def run_unbound(command: Sequence[str], environment: Mapping[str, str], *, stdin: str, seconds: float) -> Done:
    """The same with a program that is not ours: with an environment of its own, and it does not die with us.

    What was asked of a scheduler shall be done or not done.
    """
    return _run(command, environment, stdin, seconds, ())


def _run(
    command: Sequence[str],
    environment: Mapping[str, str],
    stdin: str,
    seconds: float | None,
    pass_fds: Sequence[int],
) -> Done:
    log.debug("+ %s", shlex.join(command))
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=environment,
        pass_fds=pass_fds,
        start_new_session=True,  # a Ctrl-C at the terminal is ours
    ) as running:
        started.add(running.pid)
        try:
            printed, said = running.communicate(stdin, timeout=seconds)
        except BaseException as error:
            running.kill()
            if isinstance(error, subprocess.TimeoutExpired):
                raise TimeoutError(f"no answer within {seconds:.0f} s") from None
            raise
    return Done(running.returncode, printed, said.strip())


async def finish(command: Sequence[str], *, stdin: bytes = b"", pass_fds: Sequence[int] = ()) -> str:
    """Run a short command to its end and return what it printed.

    Raises RuntimeError with the command, its exit code and its output when it fails.
    """
    import asyncio

    log.debug("+ %s", shlex.join(command))
    process = await asyncio.create_subprocess_exec(
        *_confined(command),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=ENVIRONMENT,
        pass_fds=pass_fds,
        start_new_session=True,
    )
    started.add(process.pid)
    printed, _ = await process.communicate(stdin)
    text = printed.decode(errors="replace")
    if process.returncode:
        raise RuntimeError(f"{shlex.join(command)} exited with {process.returncode}: {text.strip()}")
    return text
