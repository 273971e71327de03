"""A new version from a disk that comes from elsewhere: copied into one file, looked into, described.

The disk is only read. What is made lies in the staging folder of a repository, which vanishes when anything fails.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from ...base.errors import ExitCode, Refusal
from .. import clusters, description, formats, layout, partitions, qcow2, qemu_img
from ..description import Description, DiskBus, Firmware
from ..lookup import image
from ..signing.verified import Progress
from . import probe
from .source import DiskSource, ready

_MOST_VARIABLES = 64 << 20  # bytes; a guess: OVMF's have half a MiB
# A firmware volume (UEFI Platform Initialization, volume 3) has this at offset 40.
_VOLUME_AT, _VOLUME = 40, b"_FVH"


@dataclass(frozen=True)
class ImportOptions:
    """What is asked for. `given` are keys of the description that the user has set."""

    name: str
    version: str
    compress: bool
    given: Mapping[str, object]
    described: Path | None = None
    """An image.toml to be taken over."""
    variables: Path | None = None


def beside(disk: Path) -> tuple[Path | None, Path | None]:
    """The image.toml and the variable store that lie beside a disk and belong to it."""
    toml, variables = disk.parent / layout.DESCRIPTION, disk.parent / layout.VARIABLES
    described = toml if toml.is_file() and description.read(toml).disk == disk.name else None
    if described and (named := description.read(toml).variables):
        return described, formats.readable_beside(disk.parent, named, str(toml)).path
    return described, variables if variables.is_file() and _volume(variables) else None


def fill(folder: Path, opened: DiskSource, options: ImportOptions, progress: Progress) -> Description:
    """Make the version in `folder`, from the disk that was `opened`. Raises Refusal, OSError."""
    with TemporaryDirectory(prefix=layout.IMPORTING, dir=folder) as scratch:
        source = ready(opened, Path(scratch), progress)
        findings = _looked_into(source, Path(scratch))
        _check_wanted(source, findings, options)
        _copy(source, folder / layout.DISK, options, progress)
    if options.variables:
        _copy_variables(options.variables, folder / layout.VARIABLES)
    text = _taken_over(options, findings) if options.described else _found(source, findings, options)
    (folder / layout.DESCRIPTION).write_text(text)
    return image.from_folder(folder).description


def _looked_into(source: DiskSource, scratch: Path) -> probe.Findings:
    """What is on the disk. Raises Refusal when it is not in order, or not all there: before hours of copying."""
    # First, as what QEMU cannot open at all it says best here.
    size = qemu_img.size(source.node)
    for node in source.checkable:
        if trouble := qemu_img.trouble(node):
            hint = "copy or export it anew; of a copy, qemu-img check -r all keeps what can be kept"
            raise Refusal(ExitCode.IMAGE, f"{source.path}: is damaged: {trouble}", hint=hint)
    for layer in source.layers:
        if layer.format == "qcow2" and qcow2.read(layer.path).ragged and clusters.lost(layer.path):
            raise Refusal(ExitCode.IMAGE, f"{layer.path}: is truncated inside its last cluster", hint="copy it anew")
    findings = probe.look(lambda at, length: qemu_img.read(source.node, at, length, scratch), size)
    image.check_whole(source.path, findings.table, size)
    return findings


def _copy(source: DiskSource, target: Path, options: ImportOptions, progress: Progress) -> None:
    """The disk as one qcow2, of the size that it says it has. Raises Refusal."""
    with progress(f"importing {source.path.name}", source.stored) as report:
        qemu_img.convert(source.node, target, compress=options.compress, stored=source.stored, told=report)
    declared, made = qemu_img.size(source.node), qcow2.read(target).size
    if made != declared:
        what = f"{source.path}: is a disk of {declared} bytes, and the copy has {made}"
        raise Refusal(ExitCode.IMAGE, what, hint="it may be in use by a virtual machine: shut that down first")


def _copy_variables(path: Path, target: Path) -> None:
    if not _volume(path):
        what = f"{path}: is not a store of UEFI variables"
        raise Refusal(ExitCode.IMAGE, what, hint="take it away, or put the machine's own there")
    shutil.copyfile(path, target)


def _volume(path: Path) -> bool:
    if not path.is_file() or path.stat().st_size > _MOST_VARIABLES:
        return False
    with path.open("rb") as file:
        return file.read(_VOLUME_AT + len(_VOLUME))[_VOLUME_AT:] == _VOLUME


_NATIVE_4K = {"logical_block_size": partitions.SECTOR_4K}


def _check_wanted(source: DiskSource, findings: probe.Findings, options: ImportOptions) -> None:
    """Refuse what a disk of sectors of 4096 bytes cannot have. Raises Refusal."""
    values: dict[str, object] = dict(options.given)
    if options.described:
        values = description.read(options.described).model_dump(mode="json", by_alias=True, exclude_unset=True) | values
    if findings.table.sector != partitions.SECTOR_4K:
        return
    what = f"{source.path}: its partition table counts in sectors of 4096 bytes"
    if values.get("logical_block_size", partitions.SECTOR_4K) != partitions.SECTOR_4K:
        raise Refusal(ExitCode.IMAGE, f"{what}, not of 512", hint="--logical-block-size 4096")
    if values.get("disk_bus") == DiskBus.AHCI:
        raise Refusal(ExitCode.IMAGE, f"{what}, which an ahci disk does not have", hint="--disk-bus nvme")
    if values.get("firmware") == Firmware.BIOS:
        raise Refusal(ExitCode.IMAGE, f"{what}, from which no BIOS boots", hint="--firmware uefi")


def _taken_over(options: ImportOptions, findings: probe.Findings) -> str:
    """The description that came with the disk, for its new place."""
    assert options.described
    came = description.read(options.described)
    values = came.model_dump(mode="json", by_alias=True, exclude_unset=True)
    if findings.table.sector == partitions.SECTOR_4K:
        values = {"disk_bus": DiskBus.NVME.value, **values, **_NATIVE_4K}
    return _text([f"Taken over from {options.described.name} beside {came.disk}."], values | _placed(options))


def _placed(options: ImportOptions) -> dict[str, object]:
    """The keys that follow from where the version is, and what the user has said."""
    variables = layout.VARIABLES if options.variables else ""
    files = {"disk": layout.DISK, "format": "qcow2", "variables": variables}
    return {"name": options.name, "version": options.version, **files, **options.given}


def _found(source: DiskSource, findings: probe.Findings, options: ImportOptions) -> str:
    """A description of what is on the disk."""
    values: dict[str, object] = {}
    notes = [
        f"Made from {source.path.name} ({source.kind}).",
        f"Seen on it: {', '.join(findings.seen) or 'nothing known'}.",
    ]
    system = options.given.get("os", findings.os)
    if system:
        values |= {"os": str(system), "disk_bus": "virtio" if system == "linux" else "ahci"}
    if findings.firmware:
        values["firmware"] = findings.firmware.value
    if findings.table.sector == partitions.SECTOR_4K:
        values |= _NATIVE_4K
        if system != "linux":
            # What Windows has a driver of its own for, and shows such sectors.
            values["disk_bus"] = DiskBus.NVME.value
    if source.appliance:
        values |= _of_appliance(source, notes)
    if options.variables and values.get("firmware", Firmware.UEFI) == Firmware.BIOS:
        notes.append(f"{layout.VARIABLES} was beside it, so it boots by UEFI.")
        values["firmware"] = Firmware.UEFI.value
    assumed = [key for key in _WORTH_A_LOOK if key not in values and key not in options.given]
    notes.append(f"Assumed, for want of better knowledge: {', '.join(assumed)}. See docs/images.md.")
    defaults = Description().model_dump(mode="json", by_alias=True)
    return _text(notes, {**{key: defaults[key] for key in _WORTH_A_LOOK}, **values, **_placed(options)})


_WORTH_A_LOOK = ("os", "firmware", "disk_bus", "nic", "channels", "user", "memory", "cpus")


def _of_appliance(source: DiskSource, notes: list[str]) -> dict[str, object]:
    """What the export says of the machine."""
    assert source.appliance
    had: dict[str, object] = {}
    for key, value in (("memory", source.appliance.memory), ("cpus", source.appliance.cpus)):
        if value:
            had[key] = value
    if source.appliance.firmware:
        had["firmware"] = source.appliance.firmware
    if had:
        notes.append(f"The machine that it was exported from says: {', '.join(had)}.")
    return had


def _text(notes: list[str], values: Mapping[str, object]) -> str:
    """An image.toml, in the order of the declared keys. Notes may have hostile names in them."""
    lines = [f"# {''.join(sign if sign.isprintable() else '?' for sign in note)}" for note in notes]
    lines.append("schema = 1")
    declared = description.keys()
    for key in declared:
        if key != "schema" and values.get(key, "") != "":
            lines.append(f"{key} = {description.spelled(key, values[key])}")
    return "\n".join([*lines, ""])
