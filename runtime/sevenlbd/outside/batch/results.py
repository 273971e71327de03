"""What became of a list of commands: each one's output in files, a table of all, and events for programs."""

from __future__ import annotations

import errno
import itertools
import os
import shlex
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ...base import atomic, units
from ...base.errors import ExitCode, Refusal
from ...base.paths import user_path
from . import outlet, sinks, transfer
from .request import JobRequest
from .verdict import CommandEnd

TABLE = "results.tsv"
_HEAD = "number\tcode\tseconds\truns\tcommand\twhy\n"
_SHOWN = 20  # rows of those that failed; all are in the file


@dataclass(frozen=True)
class JobResult:
    """Of one command, whose number in the list begins at 1."""

    number: int
    command: tuple[str, ...]
    end: CommandEnd
    seconds: float
    runs: int

    def row(self) -> str:
        """For the table, in which no word ends a line or a column."""
        words = shlex.join(self.command).encode("unicode_escape").decode()
        return f"{self.number}\t{self.end.code}\t{self.seconds:.2f}\t{self.runs}\t{words}\t{self.end.said}\n"


class Results:
    """The folder with all of it, held: it may lie in the commands' own, where a guest puts a link for another."""

    def __init__(self, folder: str, common: JobRequest) -> None:
        """Raises Refusal when it cannot be made."""
        self._common = common
        self._results: dict[int, JobResult] = {}
        self._lock = threading.Lock()
        self._events: sinks.Sinks = sinks.Json() if common.as_json else sinks.Raw()
        try:
            self._folder = _made_folder(user_path(folder), common.umask)
            _put_aside(self._folder, TABLE)
            atomic.replace_in(self._folder, TABLE, _HEAD.encode(), 0o666 & ~common.umask)
            self._table = os.open(TABLE, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._folder)
        except OSError as error:
            why = "it is a link" if error.errno in (errno.ELOOP, errno.ENOTDIR) else error.strerror
            what = f"--results {folder}: cannot be made: {why}"
            raise Refusal(ExitCode.USAGE, what, hint="--results DIR, of yours") from None

    def __enter__(self) -> Results:
        return self

    def __exit__(self, *_error: object) -> None:
        """The whole table again, in the order of the list."""
        rows = "".join(result.row() for result in self.all())
        try:
            atomic.replace_in(self._folder, TABLE, (_HEAD + rows).encode(), 0o666 & ~self._common.umask)
        finally:
            os.close(self._table)
            os.close(self._folder)

    @contextmanager
    def sinks(self, number: int) -> Iterator[sinks.Sinks]:
        """Two files for what one command prints; those of an earlier run are written over."""
        out, err = (_made(self._folder, f"{number}.{kind}", self._common.umask) for kind in ("out", "err"))
        try:
            yield _Files(out, err)
        finally:
            os.close(out)
            os.close(err)

    @contextmanager
    def folder(self, number: int) -> Iterator[int]:
        """A folder for the files of one run, which are named as any other's. A descriptor. Raises OSError."""
        name = f"{number}.files"
        _put_aside(self._folder, name)
        descriptor = transfer.stepped(self._folder, name, self._common.umask)
        try:
            yield descriptor
        finally:
            os.close(descriptor)
            with suppress(OSError):  # none has come
                os.rmdir(name, dir_fd=self._folder)

    def add(self, result: JobResult) -> None:
        """One more is done."""
        with self._lock:
            self._results[result.number] = result
            with suppress(OSError):  # the whole table is written at the end, and that is told
                os.write(self._table, result.row().encode())
        said = {**result.end.event(), "number": result.number, "command": list(result.command)}
        said |= {"seconds": round(result.seconds, 3), "runs": result.runs}
        del said["event"]
        self._events.event("done", said)

    def all(self) -> list[JobResult]:
        """By their numbers."""
        with self._lock:
            return [self._results[number] for number in sorted(self._results)]


class _Files(sinks.Raw):
    def __init__(self, out: int, err: int) -> None:
        self._out, self._err = out, err

    def out(self, piece: bytes) -> None:
        outlet.write(self._out, piece)

    def err(self, piece: bytes) -> None:
        outlet.write(self._err, piece)

    def waiting(self, stream: str) -> int:
        return 0

    def tell(self, text: str) -> None:
        self.err(f"7lbd: {text}\n".encode())


def _made_folder(path: Path, umask: int) -> int:
    """A descriptor of it. Below the current folder, which is the guest's, too, no link is followed."""
    here = Path.cwd()
    inside = path.relative_to(here) if path.is_relative_to(here) else path
    start, steps = (inside.parent, [inside.name]) if inside.is_absolute() else (here, list(inside.parts))
    start.mkdir(parents=True, exist_ok=True)
    at = os.open(start, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for step in filter(None, steps):
            below = transfer.stepped(at, step, umask)
            os.close(at)
            at = below
        return at
    except BaseException:
        os.close(at)
        raise


def _put_aside(folder: int, name: str) -> None:
    """What an earlier list or run has left under this name must not pass for ours, nor be lost: `.NAME.1`, `.NAME.2`.

    Hidden, since people gather results by `*`. Raises OSError.
    """
    for number in itertools.count(1):
        aside = f".{name}.{number}"
        try:
            os.stat(aside, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            with suppress(FileNotFoundError):  # there is none
                os.rename(name, aside, src_dir_fd=folder, dst_dir_fd=folder)
            return


def _made(folder: int, name: str, umask: int) -> int:
    """Empty, and nobody else's: what somebody has put there under this name is not written through."""
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(name, flags, 0o600, dir_fd=folder)
    os.fchmod(descriptor, 0o666 & ~umask)
    return descriptor


def table(every: Sequence[JobResult]) -> Iterator[str]:
    """For people: those that failed, and what all comes to."""
    bad = [result for result in every if result.end.code]
    for result in bad[:_SHOWN]:
        again = f", {result.runs} runs" if result.runs > 1 else ""
        why = f"  ({result.end.said})" if result.end.said else ""
        yield f"{result.number:>6}  exit code {result.end.code:>3}{again}  {shlex.join(result.command)}{why}"
    if len(bad) > _SHOWN:
        yield f"        and {len(bad) - _SHOWN} more"
    took = sum(result.seconds for result in every)
    yield f"7lbd: {len(every) - len(bad)} of {len(every)} ended with 0; in all they took {units.duration(took)}"
