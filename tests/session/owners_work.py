"""An owner's own program beside a borrowed session: how much of it is lost; and a guest that takes what it can."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# A boot sector: ds = es = 0; then for ever: 32 sectors from 0x8000 to the disk's beginning (INT 13h, function 3).
HOSTILE = bytes.fromhex("31c0 8ed8 8ec0 b82003 b90200 ba8000 bb0080 cd13 ebf0")
ROUND_SECONDS = 1.0
# A terminal session of its own, as an owner's program is in one; as many processes as there are CPUs.
_WORK = """
import os, sys, time
end = time.monotonic() + float(sys.argv[1])
pipes = []
for _ in os.sched_getaffinity(0):
    read, write = os.pipe()
    if os.fork() == 0:
        count = 0
        while time.monotonic() < end:
            sum(range(2000))
            count += 1
        os.write(write, b"%d\\n" % count)
        os._exit(0)
    pipes.append(read)
print(sum(int(os.read(pipe, 99)) for pipe in pipes))
for _ in pipes:
    os.wait()  # so that their CPU time is told
"""


def hostile_image(folder: Path) -> Path:
    """An image whose guest does nothing but burn its CPU and write to its disk, over and over."""
    folder.mkdir()
    (folder / "disk.raw").write_bytes(HOSTILE.ljust(510, b"\0") + b"\x55\xaa" + bytes(16 << 20))
    described = ('os = "linux"', 'firmware = "bios"', 'memory = "128M"', "cpus = 2", 'name = "hostile"')
    (folder / "image.toml").write_text("\n".join((*described, 'disk = "disk.raw"', 'format = "raw"', "")))
    return folder


def done() -> int:
    """What the owner's program gets done in a round."""
    command = [sys.executable, "-c", _WORK, str(ROUND_SECONDS)]
    return int(subprocess.run(command, capture_output=True, check=True, start_new_session=True).stdout)


@contextmanager
def _standing(pid: int) -> Iterator[None]:
    """While the machine does nothing: what the owner's program does alone."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def losses(qemu: int, rounds: int) -> list[float]:
    """The share that the owner's program loses to a machine, round by round: alone, beside it, alone."""
    taken = []
    for _ in range(rounds):
        with _standing(qemu):
            before = done()
        beside = done()
        with _standing(qemu):
            after = done()
        taken.append(1 - 2 * beside / (before + after))
    return taken


def taken(qemu: int, rounds: int) -> list[float]:
    """Of the CPU time that the owner's program and the machine got together, the machine's: on a busy node, too.

    Where both want all that they can get, the owner loses no more than that.
    """
    shares = []
    for _ in range(rounds):
        before, machine = os.times(), _cpu_seconds(qemu)
        done()
        after = os.times()
        owner = after.children_user + after.children_system - before.children_user - before.children_system
        gained = _cpu_seconds(qemu) - machine
        shares.append(gained / (gained + owner))
    return shares


def _cpu_seconds(pid: int) -> float:
    """Of all of a process (proc_pid_stat(5): utime and stime)."""
    user, system = (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
