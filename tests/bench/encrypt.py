"""Encrypted against not: the demo guest to its ready desktop, and a disk's throughput without a guest."""

from __future__ import annotations

import re
import secrets
import statistics
from pathlib import Path

from tests.session import harness
from tests.session.harness import DEMO

from .measure import Bench
from .sessions import scratch, started

_SIZE, _PIECE = 256 << 20, 16 << 20


def run(bench: Bench) -> None:
    """Warm starts in turns; then `qemu-io`, which is QEMU's own disk with nobody in front of it."""
    starts = {"plain": lambda: _ready("--no-encrypt"), "encrypted": lambda: _ready("--encrypt")}
    taken = bench.in_turns(starts, bench.rounds(5, 2))
    for name, seconds in taken.items():
        bench.add(f"warm, {name}: exec to ready", "s", seconds)
    bench.compare("encrypted against plain, to ready", taken["encrypted"], taken["plain"])
    with scratch() as folder:
        disks = {"plain": _disk(folder, encrypted=False), "encrypted": _disk(folder, encrypted=True)}
        for what, verb in (("written", "write -P 7"), ("read", "read -P 7")):
            rates = {name: lambda disk=disk, verb=verb: _rate(disk, verb) for name, disk in disks.items()}
            speeds = bench.in_turns(rates, bench.rounds(7, 3))
            for name, each in speeds.items():
                bench.add(f"disk, {name}, {what}", "MiB/s", each)
            bench.compare(f"encrypted against plain, {what}", speeds["encrypted"], speeds["plain"])


def _ready(*words: str) -> float:
    with started(DEMO, *words) as timed:
        return timed.phase("ready")


def _disk(folder: Path, *, encrypted: bool) -> list[str]:
    """A disk that is filled once; as it is told to qemu-io."""
    path, key = folder / f"{encrypted}.qcow2", folder / "key"
    options = ["-o", "cluster_size=128k,extended_l2=on"]
    told = f"driver=qcow2,file.filename={path}"
    secret: list[str] = []
    if encrypted:
        key.write_text(secrets.token_hex(32))
        secret = ["--object", f"secret,id=k,file={key},format=raw"]
        options[1] += ",encrypt.format=luks,encrypt.key-secret=k,encrypt.iter-time=10"
        told += ",encrypt.key-secret=k"
    harness.tool("qemu-img", "create", "-q", *secret, "-f", "qcow2", *options, str(path), str(_SIZE))
    disk = [*secret, "--image-opts", told]
    _rate(disk, "write -P 7")
    return disk


def _rate(disk: list[str], what: str) -> float:
    """MiB a second through the node's cache."""
    words = [word for at in range(0, _SIZE, _PIECE) for word in ("-c", f"{what} {at} {_PIECE}")]
    rates = re.findall(r"\(([\d.]+) (M|G)iB/sec", harness.tool("qemu-io", *disk, *words, timeout=300))
    assert len(rates) == _SIZE // _PIECE
    return statistics.harmonic_mean([float(number) * (1024 if unit == "G" else 1) for number, unit in rates])
