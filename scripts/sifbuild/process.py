"""Starts every process of the build: argument lists only, output to a log, its tail when it fails."""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from sifbuild import paths


class BuildError(Exception):
    """A step that could not be done, in words for whoever called `make`."""


def say(text: str) -> None:
    print(f"7lbd: {text}", file=sys.stderr, flush=True)


def run(
    command: Sequence[str | Path], log: str, env: Mapping[str, str] | None = None, stdin: Path | None = None
) -> None:
    """Runs a command to its end. Its output goes to build/log/LOG.log behind a line that can be pasted into a shell."""
    words = [str(word) for word in command]
    path = log_path(log)
    with path.open("a") as file, Path(stdin or os.devnull).open("rb") as source:
        print(f"+ {shlex.join(words)}", file=file, flush=True)
        code = wait(start(words, source, file, env or {}))
    if code != 0:
        raise BuildError(f"{words[0]} ended with {code}; the end of {path}:\n{tail(path)}")


def start(words: list[str], source: IO[bytes], file: IO[str], env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    # A session of its own: mmdebstrap hangs up on its whole group when it fails, which must not be us; and whoever
    # reads or sets a terminal from the background is stopped by it, so there is to be none.
    # Should we be killed, it must not go on: the next build starts afresh in the same scratch folder.
    tied = ["setpriv", "--pdeathsig", "TERM", "--", *words]
    return subprocess.Popen(
        tied, stdin=source, stdout=file, stderr=file, cwd=paths.REPO, env=os.environ | dict(env), start_new_session=True
    )


def wait(process: subprocess.Popen[bytes]) -> int:
    """Waits for the process; when we are interrupted it ends first, and cleans up after itself."""
    try:
        return process.wait()
    except BaseException:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()
        raise


def log_path(name: str) -> Path:
    paths.LOGS.mkdir(parents=True, exist_ok=True)
    return paths.LOGS / f"{name}.log"


def tail(path: Path, lines: int = 15) -> str:
    return "\n".join(f"    {line}" for line in path.read_text(errors="replace").splitlines()[-lines:])
