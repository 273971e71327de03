"""From a disk file from elsewhere to what QEMU shall open: every file and driver named, nothing left to be followed.

Looking needs no place to write. What must be made first, of a disk that is packed or whose log is pending, is made when
the place is there, by `ready`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from ...base.errors import ExitCode, Refusal
from .. import formats, qcow2
from ..formats import Node, Piece
from ..lookup import image
from ..signing.verified import Progress
from . import ova, unpack, vdi, vhdx, vmdk, vpc

_CHECKED_BY_QEMU = (formats.QCOW2, formats.VHDX, formats.VDI)


@dataclass(frozen=True)
class DiskSource:
    """A disk that can be read. `stored` is what its files hold, in bytes: a measure of the work."""

    path: Path
    kind: str
    node: Node
    stored: int
    appliance: ova.Appliance | None = None
    layers: tuple[image.ImageLayer, ...] = ()
    """The files of a qcow2, from the top."""
    piece: Piece | None = field(default=None, compare=False)
    """Where the disk lies, when it is one file."""

    @property
    def checkable(self) -> list[Node]:
        """What qemu-img can check, one after the other."""
        if self.layers:
            whole = [layer for layer in self.layers if layer.format == formats.QCOW2]
            return [layer.node(None) for layer in whole if not qcow2.read(layer.path).dirty]
        return [self.node] if self.node.get("driver") in _CHECKED_BY_QEMU else []


@contextmanager
def opened(path: Path, said: str) -> Iterator[DiskSource]:
    """The disk at `path`, in the format that the user `said` or that its content tells. Raises Refusal."""
    whole = formats.piece(path)
    kind = formats.told(whole, said)
    if kind == formats.OVA:
        yield _in_appliance(path, ova.read(whole))
    elif kind == formats.QCOW2:
        layers, _ = image.walk(path, formats.QCOW2)
        yield DiskSource(path, kind, image.chain(layers), sum(_stored(layer.path) for layer in layers), layers=layers)
    elif kind == formats.VMDK_TEXT:
        extents = vmdk.extents(whole)
        stored = sum(_stored(extent.file.path) for extent in extents)
        with TemporaryDirectory(prefix="7lbd-import-") as scratch:
            yield DiskSource(path, formats.VMDK, _assembled(extents, Path(scratch)), stored)
    else:
        yield DiskSource(path, kind, _alone(whole, kind), _stored(whole.path), piece=whole)


def _in_appliance(path: Path, appliance: ova.Appliance) -> DiskSource:
    disk = appliance.disk
    if not disk:
        return DiskSource(path, "an OVA", {}, sum(piece.size for piece in appliance.pieces), appliance)
    kind = _inner(disk, appliance)
    return DiskSource(path, f"{kind} in an OVA", _alone(disk, kind), disk.size, appliance, piece=disk)


def _inner(disk: Piece, appliance: ova.Appliance) -> str:
    inner = formats.told(disk)
    if inner not in _ALONE:
        what = f"{appliance.pieces[0].path}: its disk {appliance.name} is no disk in one file"
        raise Refusal(ExitCode.IMAGE, what, hint="unpack it (tar xf) and add the disk by its own name")
    return inner


def ready(source: DiskSource, scratch: Path, progress: Progress) -> DiskSource:
    """The same disk, with all that had to be made of it made, in `scratch`. Raises Refusal, OSError."""
    if source.appliance:
        source = _proved(source, source.appliance, scratch, progress)
    if source.node.get("driver") == formats.VHDX and source.piece and vhdx.has_log(source.piece):
        source = _with(source, vhdx.replayed(source.piece, scratch), f"{source.kind}, its log replayed")
    return source


def _with(source: DiskSource, node: Node, kind: str, piece: Piece | None = None) -> DiskSource:
    stored = piece.size if piece else source.stored
    return DiskSource(source.path, kind, node, stored, source.appliance, piece=piece or source.piece)


def _proved(source: DiskSource, appliance: ova.Appliance, scratch: Path, progress: Progress) -> DiskSource:
    """What its digests say is true, and what is packed in it is unpacked."""
    by_name = {digest.name: digest for digest in appliance.digests}
    total = sum(piece.size for piece in appliance.pieces)
    if by_name:
        with progress(f"checking the digests of {source.path.name}", total) as report:
            for name, piece in zip(appliance.names, appliance.pieces, strict=True):
                if name in by_name:
                    by_name[name].check(piece, report)
    if appliance.disk:
        return source
    with progress(f"unpacking {appliance.name}", total) as report:
        disk = unpack.joined(appliance, scratch, report)
    kind = _inner(disk, appliance)
    return _with(source, _alone(disk, kind), f"{kind} in an OVA", disk)


def _stored(path: Path) -> int:
    """What a file holds, without its holes."""
    status = path.stat()
    return min(status.st_size, status.st_blocks * formats.SECTOR) or status.st_size


def _alone(disk: Piece, kind: str) -> Node:
    """A disk in one file. Raises Refusal when it needs others, or is not all there."""
    return _ALONE[kind](disk)


def _raw(disk: Piece) -> Node:
    if not disk.size:
        raise Refusal(ExitCode.IMAGE, f"{disk.path}: is empty", hint="copy it anew")
    return {"driver": "raw", "file": disk.node()}


def _sparse(disk: Piece) -> Node:
    vmdk.check_sparse(disk)
    return {"driver": "vmdk", "file": disk.node(), "backing": None}


_ALONE: dict[str, Callable[[Piece], Node]] = {
    formats.RAW: _raw,
    formats.VMDK: _sparse,
    formats.VPC: vpc.checked,
    formats.VDI: vdi.checked,
    formats.VHDX: vhdx.checked,
}


def _assembled(extents: list[vmdk.Extent], scratch: Path) -> Node:
    """A disk of several extents, or of one."""
    first = extents[0]
    if len(extents) == 1 and first.kind == "FLAT":
        offset, size = first.at * formats.SECTOR, first.sectors * formats.SECTOR
        return {"driver": "raw", "offset": offset, "size": size, "file": first.file.node()}
    descriptor = vmdk.rewritten(extents, scratch)
    return {"driver": "vmdk", "file": {"driver": "file", "filename": str(descriptor)}, "backing": None}
