"""Limits of a single process and of the user (getrlimit(2), `ulimit`), which shells and batch systems set.

What may be raised is raised, early, so that everything started later has it, inside the wall, too. What may not is
held against what a session takes, before anything has happened.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ...base.errors import ExitCode, Refusal
from .abilities import Limit

# The supervisor has 19 descriptors, smbd 29 and 3 more for each client and file, QEMU 22 and some for each layer.
_LEAST_FILES = 256
_GOOD_FILES = 4096  # a guess: smbd has a thousand files open with them
# A session at rest has 23 processes and threads; each window of the share, each vCPU and each write under way adds one.
_PROCESSES = 64
# Nobody comes near to more than that, and to count costs time where a node has many processes.
_MANY_PROCESSES = 8192
_GIB, _MIB = 1 << 30, 1 << 20  # bytes
# Measured, QEMU 10.0 with one vCPU beside the guest's memory: 1.69 GiB of addresses and 1.13 GiB of data in emulation,
# of which 1 GiB is what translated code is kept in.
_ADDRESSES, _ADDRESSES_OF_CPU = 768 * _MIB, 72 * _MIB
_DATA, _DATA_OF_CPU = 256 * _MIB, 8 * _MIB  # bytes; the same
_TRANSLATED = _GIB
_WHERE = "raise it where the job or the shell gets its limits; a Slurm job: sbatch --propagate=NONE"


def raise_soft() -> None:
    """Take what the hard limits allow. Raises Refusal where no session could even begin with that."""
    for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA, resource.RLIMIT_FSIZE, resource.RLIMIT_NPROC):
        _raise(kind, hard(kind))
    # No more than is of use: some programs close every number that there could be.
    files = hard(resource.RLIMIT_NOFILE)
    _raise(resource.RLIMIT_NOFILE, _GOOD_FILES if files is None else min(files, _GOOD_FILES))
    if files is not None and files < _LEAST_FILES:
        what = f"a process may have {files} files open here (ulimit -n), and a session's need {_LEAST_FILES}"
        raise Refusal(ExitCode.RESOURCES, what, hint=_hint("n", _LEAST_FILES))


def hard(kind: int) -> int | None:
    """A hard limit; None when there is none."""
    limit = resource.getrlimit(kind)[1]
    return None if limit == resource.RLIM_INFINITY else limit


def _raise(kind: int, needed: int | None) -> None:
    soft, most = resource.getrlimit(kind)
    if soft == resource.RLIM_INFINITY or (needed is not None and soft >= needed):
        return
    with suppress(OSError, ValueError):
        resource.setrlimit(kind, (resource.RLIM_INFINITY if needed is None else needed, most))


def of_memory(accel: str, cpus: int) -> Iterator[Limit]:
    """What QEMU may take: guest memory and what it needs itself count together, in one process."""
    translated = _TRANSLATED if accel == "tcg" else 0
    kinds = (
        (resource.RLIMIT_AS, "v", "addresses", _ADDRESSES + cpus * _ADDRESSES_OF_CPU),
        (resource.RLIMIT_DATA, "d", "data", _DATA + cpus * _DATA_OF_CPU),
    )
    for kind, letter, name, own in kinds:
        if (limit := hard(kind)) is not None:
            yield Limit(
                limit,
                f"allowed to one process (ulimit -{letter})",
                beside=own + translated,
                beside_for=f"QEMU's own {name}",
                more=f"ulimit -{letter} {{kib}}, or unlimited, before it is started; {_WHERE}",
            )


def check_file_size(disk: int, least: int, warnings: list[str]) -> None:
    """Hold the largest file that may be written against the overlay: `disk` bytes at most. Raises Refusal."""
    limit = hard(resource.RLIMIT_FSIZE)
    if limit is None:
        return
    limited = f"a file may grow to {_size(limit)} here (ulimit -f)"
    if limit < min(disk, least):
        what = f"{limited}, and what the guest writes is one file, for which {_size(min(disk, least))} are the least"
        raise Refusal(ExitCode.RESOURCES, what, hint=f"{_hint('f', -(-disk // 1024))}, or lower --min-space")
    if limit < disk:
        warnings.append(
            f"{limited}, and the guest's disk to {_size(disk)}: the machine dies when it has written that much. "
            f"To mend: {_hint('f', -(-disk // 1024))}"
        )


def check_processes(cpus: int) -> None:
    """Hold the user's processes and threads on this node, and a session's, against what he may have. Raises Refusal."""
    limit = hard(resource.RLIMIT_NPROC)
    if limit is None or limit > _MANY_PROCESSES:
        return
    there, needed = processes(), _PROCESSES + cpus
    if there + needed > limit:
        what = f"you have {there} processes and threads on this node, and a session takes {needed}: that makes "
        what += f"{there + needed}, but only {limit} are allowed (ulimit -u)"
        raise Refusal(ExitCode.RESOURCES, what, hint=f"end what you do not need, or: {_hint('u', there + needed)}")


def processes(proc: Path = Path("/proc")) -> int:
    """How many threads this user has, as far as they are shown to him."""
    uid, count = os.getuid(), 0
    for entry in proc.iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                if entry.stat().st_uid == uid:
                    count += sum(1 for _ in (entry / "task").iterdir())
    return count


def _hint(letter: str, value: int) -> str:
    return f"ulimit -{letter} {value}, or more, before it is started; {_WHERE}"


def _size(size: int) -> str:
    return f"{size / _GIB:.1f} GiB" if size >= _GIB else f"{size / _MIB:.1f} MiB"
