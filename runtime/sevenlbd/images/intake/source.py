"""From a disk file from elsewhere to what QEMU shall open: every file and driver named, nothing left to be followed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from ...errors import ExitCode, Refusal
from .. import image
from . import formats, ova, vmdk
from .formats import Piece

Node = dict[str, object]


@dataclass(frozen=True)
class Source:
    """A disk that can be read. `stored` is what its files hold, in bytes: a measure of the work."""

    path: Path
    kind: str
    node: Node
    stored: int
    appliance: ova.Appliance | None = None


@contextmanager
def opened(path: Path, said: str) -> Iterator[Source]:
    """The disk at `path`, in the format that the user `said` or that its content tells. Raises Refusal."""
    whole = formats.piece(path)
    kind = formats.told(whole, said)
    if kind == formats.OVA:
        appliance = ova.read(whole)
        inner = formats.told(appliance.disk)
        if inner not in (formats.VMDK, formats.VHDX, formats.VPC, formats.RAW):
            what = f"{path}: its disk {appliance.name} is no disk in one file"
            raise Refusal(ExitCode.IMAGE, what, hint="unpack it (tar xf) and add the disk by its own name")
        node = _alone(appliance.disk, inner)
        yield Source(path, f"{inner} in an OVA", node, appliance.disk.size, appliance)
    elif kind == formats.QCOW2:
        layers, _ = image.walk(path, formats.QCOW2)
        yield Source(path, kind, _chain(layers), sum(_stored(layer.path) for layer in layers))
    elif kind == formats.VMDK_TEXT:
        found = vmdk.extents(whole)
        stored = sum(_stored(extent.file.path) for extent in found)
        with TemporaryDirectory(prefix="7lbd-import-") as place:
            yield Source(path, formats.VMDK, _assembled(found, Path(place)), stored)
    else:
        yield Source(path, kind, _alone(whole, kind), _stored(whole.path))


def _stored(path: Path) -> int:
    """What a file holds, without its holes."""
    status = path.stat()
    return min(status.st_size, status.st_blocks * formats.SECTOR) or status.st_size


def _alone(disk: Piece, kind: str) -> Node:
    """A disk in one file. Raises Refusal when it needs others."""
    if kind == formats.RAW:
        if not disk.size:
            raise Refusal(ExitCode.IMAGE, f"{disk.path}: is empty", hint="copy it anew")
        return {"driver": "raw", "file": disk.node()}
    if kind == formats.VMDK:
        vmdk.check_sparse(disk)
        return {"driver": "vmdk", "file": disk.node(), "backing": None}
    if kind == formats.VPC:
        formats.check_vpc(disk)
    # QEMU refuses a VHDX that has a parent (block/vhdx.c).
    return {"driver": kind, "file": disk.node()}


def _chain(layers: tuple[image.ImageLayer, ...]) -> Node:
    """A disk with what it stands on, from the deepest file up."""
    below: Node | None = None
    for layer in reversed(layers):
        file: Node = {"driver": "file", "filename": str(layer.path), "read-only": True}
        below = {"driver": layer.format, "file": file} | ({"backing": below} if layer.format == "qcow2" else {})
    assert below is not None
    return below


def _assembled(found: list[vmdk.Extent], place: Path) -> Node:
    """A disk of several extents, or of one."""
    first = found[0]
    if len(found) == 1 and first.kind == "FLAT":
        offset, size = first.at * formats.SECTOR, first.sectors * formats.SECTOR
        return {"driver": "raw", "offset": offset, "size": size, "file": first.file.node()}
    descriptor = vmdk.rewritten(found, place)
    return {"driver": "vmdk", "file": {"driver": "file", "filename": str(descriptor)}, "backing": None}
