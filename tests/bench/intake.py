"""Images come in, and are verified.

Import: `7lbd image add` against plain `qemu-img convert` from the same SIF, on the same file, in turns. A version must
be on the disk before it is there for anybody, so the promise compares with a convert whose result is on the disk
(fsync); what convert alone takes is told beside it, though a power cut would leave nothing of that.

Verification: what stands between `run` and its answer when signatures are required and the very same files were seen
before, in a fresh process, the loading of the modules included. The disk has 40 GiB, and its size does not matter.
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from tests.session import harness

from .measure import Bench
from .sessions import scratch, tree

LEAST_RATIO = 0.9
MOST_SECONDS = 0.05
_MIB = 1 << 20
_PIECE = 64 * _MIB
_DISK_SIZE = 40 << 30
_COARSE_SECONDS = 2.1
_TIMED = """
import pathlib, sys, time
sys.path.insert(0, "/usr/lib/7lbd")
# The fork that verifies has these in any case (outside/session/preflight/checker.py).
from sevenlbd.config import sources
from sevenlbd.outside.cli import command_line
from sevenlbd.outside.session.preflight import prepare
folder, key, memory = pathlib.Path(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3])
began = time.perf_counter()
from sevenlbd.images.signing import verified
verified.ensure(folder, [key], memory)
print(time.perf_counter() - began)
"""


def run(bench: Bench) -> None:
    """Both."""
    with scratch() as folder:
        _imports(bench, folder)
    with scratch() as folder:
        _verifies(bench, folder)


def _imports(bench: Bench, folder: Path) -> None:
    size = (1536 if bench.quick else 9216) * _MIB
    source = folder / "source.raw"
    with source.open("wb") as file:
        file.write(bytes(510) + b"\x55\xaa")
        while file.tell() < size:
            # A third of it holes, as disks have them.
            file.write(os.urandom(2 * _PIECE))
            file.seek(_PIECE, os.SEEK_CUR)
        file.truncate()
        # What is written back late must not be charged to whom is measured first.
        os.fsync(file.fileno())
    variants = {"convert": lambda: _convert(source, folder), "add": lambda: _add(source, folder)}
    taken = bench.in_turns(variants, bench.rounds(7, 3))
    plain = [alone for alone, _ in taken["convert"]]
    safe = [on_disk for _, on_disk in taken["convert"]]
    added = [whole for whole, _ in taken["add"]]
    stored = source.stat().st_blocks * 512 / _MIB
    bench.add("qemu-img convert", "MiB/s", [stored / seconds for seconds in plain], note="the data may be lost")
    bench.add("qemu-img convert, on the disk", "MiB/s", [stored / seconds for seconds in safe])
    bench.add("image add", "MiB/s", [stored / seconds for seconds in added], note="on the disk, described")
    bench.compare("image add to convert, both on the disk", safe, added, least=LEAST_RATIO)
    bench.compare("image add to convert alone", plain, added)


def _convert(source: Path, folder: Path) -> tuple[float, float]:
    """Seconds until convert ends, and until its result is on the disk."""
    out = folder / "out.qcow2"
    began = time.monotonic()
    _tool("qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(source), str(out))
    alone = time.monotonic() - began
    with out.open("rb") as file:
        os.fsync(file.fileno())
    whole = time.monotonic() - began
    out.unlink()
    return alone, whole


def _add(source: Path, folder: Path) -> tuple[float, float]:
    """Seconds until the version is there; twice, for the type's sake."""
    repository = folder / "images"
    began = time.monotonic()
    _image("add", "--image-dir", str(repository), str(source), "--name", "x", "--version", "1")
    whole = time.monotonic() - began
    _image("rm", "--image-dir", str(repository), "x@1")
    return whole, whole


def _verifies(bench: Bench, folder: Path) -> None:
    version = folder / "images" / "big" / "1"
    version.mkdir(parents=True)
    with (version / "disk.raw").open("wb") as file:
        file.truncate(_DISK_SIZE)
    (version / "image.toml").write_text('disk = "disk.raw"\nformat = "raw"\nname = "big"\nversion = "1"\n')
    _image("keygen", str(folder / "site"))
    key = (folder / "site.pub").read_text().strip()
    began = time.monotonic()
    _image("sign", "--image-dir", str(folder / "images"), "big@1", "--key", str(folder / "site.key"))
    bench.add("signing 40 GiB of holes", "s", [time.monotonic() - began])
    time.sleep(_COARSE_SECONDS)
    memory = folder / "verified.json"
    first, again = [], []
    for _ in range(bench.rounds(9, 3)):
        memory.unlink(missing_ok=True)
        first.append(_ensure(version, key, memory))
        again.append(_ensure(version, key, memory))
    bench.add("verify at start, first on this node", "s", first, note="by the signed identities")
    bench.add("verify at start, known", "s", again, limit=MOST_SECONDS)


def _ensure(version: Path, key: str, memory: Path) -> float:
    return float(_tool("python3", "-I", "-c", _TIMED, str(version), key, str(memory)))


def _tool(*arguments: str) -> str:
    call = ["apptainer", "exec", *tree(), "--bind", str(harness.REPO), str(harness.SIF), *arguments]
    return subprocess.run(call, capture_output=True, text=True, check=True).stdout


def _image(*arguments: str) -> None:
    done = harness.run("image", *arguments, options=tree(), timeout=600)
    assert done.returncode == 0, done.stderr
