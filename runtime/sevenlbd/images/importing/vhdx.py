"""VHDX, Hyper-V's format: stands alone, and what its log still holds is put in its place, in a layer of ours.

A disk that was copied while, or after, its machine stopped hard has writes in its log that are not in their place yet.
QEMU reads such a disk only after it has replayed the log, and it may not write to what is not ours: so it writes into a
qcow2 on top, that vanishes. That a disk ends early QEMU finds when it opens it. Source: Microsoft, [MS-VHDX], 2.2, 2.3.
"""

from __future__ import annotations

from pathlib import Path

from .. import qemu_img
from ..formats import Node, Piece, truncated

_HEADERS = (64 << 10, 128 << 10)  # MS-VHDX 2.2: both, of which the newer one counts
_LENGTH = 80  # MS-VHDX 2.2.2: bytes of a header that mean something
_LOG_GUID = slice(48, 64)


def checked(disk: Piece) -> Node:
    """How QEMU is told to open it. Raises Refusal. A parent QEMU refuses itself (block/vhdx.c)."""
    if not any(disk.read(at, 4) == b"head" for at in _HEADERS):
        raise truncated(disk, "its headers are missing")
    return {"driver": "vhdx", "file": disk.node()}


def has_log(disk: Piece) -> bool:
    """Whether one of its headers says that its log holds something."""
    headers = [disk.read(at, _LENGTH) for at in _HEADERS]
    return any(header.startswith(b"head") and any(header[_LOG_GUID]) for header in headers)


def replayed(disk: Piece, scratch: Path) -> Node:
    """The disk with its log in place, by way of a layer in `scratch`. Raises Refusal."""
    layer = scratch / "log.qcow2"
    qemu_img.create(layer, disk.size)
    node = qemu_img.qcow2_node(layer) | {"backing": {"driver": "raw", "file": disk.node()}}
    whole: Node = {"driver": "vhdx", "file": node}
    qemu_img.repair(whole)
    return whole
