"""qemu-img, as far as images need it. What it opens is always told in full, as JSON, and never guessed."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from ..base import process, syscalls
from ..base.errors import ExitCode, Refusal

_PROGRAM = "/usr/bin/qemu-img"
_DONE = re.compile(rb"\((\d+\.\d+)/100%\)")
_FULL = re.compile(r"No space left|Disk quota exceeded|File too large")
# More requests at once than the usual 8, and written in the order in which they are read: as one writes one disk.
_PLAIN = ("-m", "16")
# Compressing takes a core for each request; the order of what is packed does not matter.
_PACKED = ("-m", "16", "-W", "-c", "-o", "compression_type=zstd")
_WRITE_EVERY = 64 << 20  # bytes; little is left to wait for at the end
_UNIT = 1 << 20  # bytes; disks have whole MiB
_MOST_WORDS = 64 << 10  # bytes; the first complaints are in them
_IN_USE = re.compile(r"\block\b")
_COMPLAINT = re.compile(r"ERROR|qemu-img: (?!warning:)")
_PREFIX = re.compile(r"^(qemu-img: |ERROR:? )+")


def qcow2_node(path: Path) -> dict[str, object]:
    """A qcow2 file that stands alone."""
    return {"driver": "qcow2", "file": {"driver": "file", "filename": str(path)}, "backing": None}


def convert(
    node: Mapping[str, object], target: Path, *, compress: bool, stored: int, told: Callable[[int], None]
) -> None:
    """Copy the disk `node` into a qcow2 file of its own. Raises Refusal; then no more than a part of it is there.

    `told` hears of every further piece of the `stored` bytes.
    """
    options = _PACKED if compress else _PLAIN
    command = [_PROGRAM, "convert", "-p", *options, "-O", "qcow2", _json(node), str(target)]
    done = 0
    said = b""
    writeback = _Writeback(target)
    with process.piped(command) as running:
        assert running.stdout
        while piece := os.read(running.stdout.fileno(), 4096):
            said = (said + piece)[-8192:]
            writeback.go_on()
            if percents := _DONE.findall(said):
                now = int(stored * float(percents[-1]) / 100)
                told(now - done)
                done = now
    if running.returncode:
        raise _failed(said, target)
    told(stored - done)


def read(node: Mapping[str, object], at: int, length: int, scratch: Path) -> bytes:
    """Some bytes of the disk `node`, by way of a file in `scratch`. `at` and `length` are multiples of 512."""
    out = scratch / ".piece"
    part = {"driver": "raw", "offset": at, "size": length, "file": node}
    try:
        _finish([_PROGRAM, "convert", "-O", "raw", _json(part), str(out)], out)
        return out.read_bytes()
    finally:
        out.unlink(missing_ok=True)


def create(path: Path, length: int) -> None:
    """An empty qcow2 of at least `length` bytes. Raises Refusal."""
    _finish([_PROGRAM, "create", "-q", "-f", "qcow2", str(path), str(-(-length // _UNIT) * _UNIT)], path)


def repair(node: Mapping[str, object]) -> None:
    """Have QEMU put in order what it only can in a disk that it may write to. Raises Refusal."""
    _finish([_PROGRAM, "check", "-q", "-r", "all", _json(node)], Path("the disk"))


def size(node: Mapping[str, object]) -> int:
    """The virtual size of the disk `node`, in bytes. Raises Refusal."""
    # `info` opens what it is given without its backing files, and must not meet a description of them.
    whole = {"driver": "raw", "file": node}
    info = json.loads(_finish([_PROGRAM, "info", "--output=json", _json(whole)], Path("the disk")))
    return int(info["virtual-size"])


def check(path: Path, kind: str) -> str:
    """What `qemu-img check` finds wrong with the file at `path`; empty when it is in order."""
    node = qcow2_node(path) if kind == "qcow2" else {"driver": kind, "file": {"driver": "file", "filename": str(path)}}
    return trouble(node)


def trouble(node: Mapping[str, object]) -> str:
    """What `qemu-img check` finds wrong with the disk `node`; empty when it is in order, or cannot be checked."""
    with process.piped([_PROGRAM, "check", "-q", _json(node)]) as running:
        printed = _bounded(running)
    # 3 says that clusters are leaked: wasted, but harmless; 63 that its format has no check (qemu-img(1)).
    if running.returncode in (0, 3, 63):
        return ""
    return _reason(printed) or f"qemu-img check ended with {running.returncode}"


def _json(node: Mapping[str, object]) -> str:
    return f"json:{json.dumps(node)}"


def _finish(command: list[str], target: Path) -> bytes:
    with process.piped(command) as running:
        printed = _bounded(running)
    if running.returncode:
        raise _failed(printed, target)
    return printed


def _bounded(running: process.Piped) -> bytes:
    """What it prints, of which a damaged disk may have a line for each cluster: the first is enough."""
    assert running.stdout
    printed = running.stdout.read(_MOST_WORDS)
    while running.stdout.read(_MOST_WORDS):
        pass
    return printed


class _Writeback:
    """Has a growing file written to the disk as it grows: all of it must be safe in the end, not only begun then."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written = 0

    def go_on(self) -> None:
        with suppress(OSError):  # it is not there yet
            size = self._path.stat().st_size
            if size - self._written >= _WRITE_EVERY:
                self._written = size
                descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    syscalls.begin_writeback(descriptor)
                finally:
                    os.close(descriptor)


def _reason(said: bytes) -> str:
    """Why qemu-img failed: its first complaint, not the hint below, and no JSON of ours."""
    text = _DONE.sub(b"", said).decode(errors="replace").replace("\r", "\n")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    complaints = [line for line in lines if _COMPLAINT.match(line)] or lines
    why = _PREFIX.sub("", complaints[0]) if complaints else ""
    # Quoted, or the last thing in it.
    why = re.sub(r"(Could not open )?'json:\{.*?\}+'(: )?", "", why) if "'json:" in why else why
    return re.sub(r"json:\{.*\}:? ?", "", why).strip()


def _failed(said: bytes, target: Path) -> Refusal:
    """The reason in qemu-img's own words, without its progress and the JSON that only we wrote."""
    why = _reason(said) or "qemu-img was killed"
    if _FULL.search(why):
        free = shutil.disk_usage(target.parent).free >> 20
        what = f"{target.parent}: no space is left for the disk ({free} MiB free): {why}"
        return Refusal(ExitCode.RESOURCES, what, hint="make room there, or name another repository: --image-dir DIR")
    if _IN_USE.search(why):
        what = f"the disk is in use by a virtual machine: {why}"
        return Refusal(ExitCode.IMAGE, what, hint="shut that machine down first")
    return Refusal(ExitCode.IMAGE, f"the disk cannot be read: {why}", hint="copy or export it anew; qemu-img check")
