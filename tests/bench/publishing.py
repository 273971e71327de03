"""Publishing and rolling back: whole commands, on versions of 40 GB, which must cost what those of 1 MB do."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.session import harness

from .measure import Bench
from .sessions import scratch, tree

SIZES = {"40 GB": 40 * 10**9, "1 MB": 10**6}
LIMIT = 1.0


def run(bench: Bench) -> None:
    """Each command to its end, the start of its container included."""
    with scratch() as folder:
        for label, size in SIZES.items():
            _repository(folder / label.replace(" ", "-"), size)
        rounds = bench.rounds(7, 2)
        for verb, words in (("publish", ("publish", "disk@2")), ("rollback", ("rollback", "disk"))):
            taken = bench.in_turns(
                {f"{verb}, {label}": _timed(folder / label.replace(" ", "-"), words) for label in SIZES}, rounds
            )
            for label, seconds in taken.items():
                bench.add(label, "s", seconds, limit=LIMIT)


def _repository(folder: Path, size: int) -> None:
    """Two versions of a sparse disk, the first one current."""
    for version in ("1", "2"):
        place = folder / "disk" / version
        place.mkdir(parents=True)
        (place / "disk.raw").touch()
        os.truncate(place / "disk.raw", size)
        (place / "image.toml").write_text('disk = "disk.raw"\nformat = "raw"\n')
    _image(folder, "publish", "disk@1")


def _timed(folder: Path, words: tuple[str, ...]) -> Callable[[], float]:
    def measured() -> float:
        # A publish must change something, and a rollback needs something to take back.
        _image(folder, "publish", "disk@1")
        if words[0] == "rollback":
            _image(folder, "publish", "disk@2")
        began = time.monotonic()
        _image(folder, *words)
        return time.monotonic() - began

    return measured


def _image(folder: Path, verb: str, *words: str) -> None:
    call = harness.command("image", verb, "--image-dir", str(folder), *words, options=tree())
    subprocess.run(call, check=True, stdout=subprocess.DEVNULL)
