"""The overlay: the session's own copy-on-write layer on top of the image.

An empty one names no file and holds nothing: some 130 bytes in four clusters, which are written here as
qemu-img would (QEMU, docs/interop/qcow2.rst; a test holds the two together): to start that takes 25 ms of every start.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from pathlib import Path

from ...base.errors import ExitCode, Refusal
from ...base.process import finish
from ...wire import shared_files
from ...wire.plan import Layer

# Sub-clusters of 4 KiB: a small write to the overlay copies 4 KiB from the image, not 128 KiB
# (QEMU, docs/interop/qcow2.rst, "Extended L2 Entries").
_OPTIONS = "extended_l2=on,cluster_size=128k,lazy_refcounts=on"
_CLUSTER = 128 << 10
_ENTRY = _CLUSTER // 16 * _CLUSTER  # bytes that one of the first-level table's stands for
_EXTENDED_L2, _LAZY_REFCOUNTS = 1 << 4, 1 << 0  # of the incompatible and of the compatible features
_HEADER = struct.Struct(">4sIQIIQIIQQIIQQQQIIQ")


def most(size: int) -> int:
    """Bytes that an overlay of a disk of `size` bytes has at most: its tables take less than a sixteenth."""
    return size + size // 16 + (64 << 20)


async def make_overlay(folder: Path, layers: Sequence[Layer], size: int) -> str:
    """Create the overlay of `size` bytes and return its path. Raises Refusal."""
    path = folder / shared_files.OVERLAY
    try:
        if layers:
            await _named(path, layers[0], size)
        else:
            write_empty(path, size)
    except RuntimeError as error:
        raise refused(folder, str(error).rpartition("qemu-img: ")[2]) from None
    except OSError as error:
        raise refused(folder, str(error.strerror)) from None
    return str(path)


async def _named(path: Path, below: Layer, size: int) -> None:
    """One that says what it stands on. `-u`: the layers below are checked already, and qemu-img opens none."""
    command = ["/usr/bin/qemu-img", "create", "-q", "-f", "qcow2", "-u", "-o", _OPTIONS]
    await finish([*command, "-b", below.path, "-F", below.format, str(path), str(size)])


def write_empty(path: Path, size: int) -> None:
    """One that names nothing: header, the refcounts' table and their first block, and a table of no entries.

    Raises OSError.
    """
    entries = -(-size // _ENTRY)  # of the first-level table
    clusters = 3 + -(-entries * 8 // _CLUSTER)
    header = _HEADER.pack(
        *(b"QFI\xfb", 3, 0, 0, 17, size, 0),  # version; no backing file; bits of a cluster's size; not encrypted
        *(entries, 3 * _CLUSTER, _CLUSTER, 1, 0, 0),  # the tables' places; no snapshots
        *(_EXTENDED_L2, _LAZY_REFCOUNTS, 0, 4, _HEADER.size, 0),  # features; a refcount has 2^4 bits; plain compression
    )
    with path.open("xb", buffering=0) as file:
        file.truncate(3 * _CLUSTER + entries * 8)
        for at, content in (
            (0, header),
            (_CLUSTER, (2 * _CLUSTER).to_bytes(8)),
            (2 * _CLUSTER, b"\0\1" * clusters),
        ):
            os.pwrite(file.fileno(), content, at)


def refused(folder: Path, why: str) -> Refusal:
    """There is no overlay."""
    hint = "make room there, or choose another place: --session-dir DIR"
    return Refusal(ExitCode.RESOURCES, f"{folder}: the overlay cannot be made: {why}", hint=hint)
