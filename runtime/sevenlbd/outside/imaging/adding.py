"""New images: add and check."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import ValidationError

from ...base.errors import ExitCode, Refusal
from ...base.paths import user_path
from ...config.settings import in_words
from ...config.value_kinds import parse_size
from ...images import clusters, formats, layout, names, partitions, qcow2, qemu_img, warm
from ...images.description import OS, Description, DiskBus, Firmware
from ...images.importing import importer, source
from ...images.lookup import image, repositories
from ...images.signing import manifest, signature
from ..cli.command import Command, CommandContext
from ..cli.parser import Parser, option
from ..console import progress_bar, terminal

_GIB = 1 << 30  # bytes


def _describing(group: Any) -> None:
    group.add_argument("--os", dest="described_os", choices=list(OS), help="its operating system")
    group.add_argument("--firmware", dest="described_firmware", choices=list(Firmware), help="what it boots with")
    group.add_argument("--disk-bus", dest="described_disk_bus", choices=list(DiskBus), help="its disk controller")
    group.add_argument(
        "--logical-block-size", dest="described_logical_block_size", metavar="512|4096", help="its disk's sector size"
    )
    group.add_argument("--title", dest="described_title", metavar="TEXT", help="a line for people")
    group.add_argument("--memory", dest="described_memory", metavar="SIZE", help="memory it needs")
    group.add_argument("--cpus", dest="described_cpus", metavar="N", help="virtual CPUs it needs")


def _add(context: CommandContext) -> int:
    options = context.options
    ref = names.Reference(options.image_name, options.image_version)
    names.check_name(ref.name)
    names.check_version(ref.version)
    given = _given(options)
    path = user_path(options.disk)
    repository = repositories.writable(context.targets)
    with source.opened(path, options.format) as disk:
        described, variables = importer.beside(disk.path)
        if options.description:
            described = user_path(options.description)
        order = importer.ImportOptions(ref.name, ref.version, options.compress, given, described, variables)
        with repository.staged(ref.name, ref.version) as folder:
            made = importer.fill(folder, disk, order, progress_bar.shown)
            size, stored = image.from_folder(folder).size, (folder / layout.DISK).stat().st_blocks * formats.SECTOR
    terminal.say(f"{ref} is in {repository.path}: {size / _GIB:.1f} GiB, {stored / _GIB:.1f} GiB of them stored")
    terminal.say(
        f"{repository.path / ref.name / ref.version / layout.DESCRIPTION}: {_in_short(made)}; see that it is right"
    )
    if options.publish:
        repository.publish(ref.name, ref.version)
        terminal.say(f"{ref} is current")
    else:
        terminal.say(f"for new sessions: 7lbd image publish {ref}")
    return ExitCode.OK


def _in_short(made: Description) -> str:
    return f"{made.os}, {made.firmware}, {made.disk_bus} disk, {made.memory / _GIB:g} GiB, {made.cpus} CPUs"


def _given(options: Any) -> dict[str, object]:
    """The keys of the description that are options. Raises Refusal for a wrong value."""
    keys = ("os", "firmware", "disk_bus", "logical_block_size", "title", "memory", "cpus")
    given: dict[str, Any] = {
        key: getattr(options, f"described_{key}") for key in keys if getattr(options, f"described_{key}")
    }
    try:
        # What is not given is not yet known: it must not speak against what is.
        values = {"disk_bus": DiskBus.NVME, **given, "memory": parse_size(given.get("memory", "4G"))}
        if (size := str(values.get("logical_block_size", ""))).isdecimal():
            values["logical_block_size"] = int(size)
        checked = Description.model_validate(values)
    except (ValidationError, ValueError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else {"loc": ("memory",), "msg": str(error)}
        flag = str(first["loc"][0]).replace("_", "-")
        what = f"command line: --{flag} {given.get(str(first['loc'][0]))}: {in_words(str(first['msg']))}"
        raise Refusal(ExitCode.USAGE, what, hint="7lbd image add --help") from None
    return {key: value for key, value in checked.model_dump(mode="json").items() if key in given}


class _Report:
    """One line for each thing that was examined."""

    def __init__(self) -> None:
        self.bad = False

    def tell(self, what: str, trouble: str = "") -> None:
        self.bad |= bool(trouble)
        terminal.say(f"{'not ok' if trouble else 'ok':<8}{what}{': ' if trouble else ''}{trouble}")


def _check(context: CommandContext) -> int:
    folder = repositories.find(names.parse(context.options.reference), context.folders)
    report = _Report()
    disk_image = _checked_description(folder, report)
    for layer in disk_image.layers if disk_image else ():
        trouble = _layers_trouble(layer) if layer.format != formats.RAW else ""
        report.tell(f"disk {layer.path.name} ({layer.format})", trouble)
    if disk_image and not report.bad:
        _check_partitions(disk_image, report)
    _check_warm(folder, report)
    _check_signature(context, folder, report)
    return ExitCode.IMAGE if report.bad else ExitCode.OK


def _layers_trouble(layer: image.ImageLayer) -> str:
    trouble = qemu_img.check(layer.path, layer.format)
    if not trouble and qcow2.read(layer.path).ragged and clusters.lost(layer.path):
        return "it is truncated inside its last cluster"
    return trouble


def _check_partitions(disk_image: image.Image, report: _Report) -> None:
    """Whether the disk goes as far as its partition table says."""
    node = image.chain(disk_image.layers)
    with TemporaryDirectory(prefix="7lbd-check-") as scratch:
        table = partitions.read(
            qemu_img.read(node, 0, min(partitions.HEAD, disk_image.size // 512 * 512), Path(scratch))
        )
    if table.name:
        count = len(table.partitions)
        report.tell(f"{table.name} with {count} partition{'s' * (count != 1)}", table.lost(disk_image.size))


def _checked_description(folder: Path, report: _Report) -> image.Image | None:
    try:
        disk_image = image.from_folder(folder)
    except Refusal as refusal:
        report.tell("description", refusal.what)
        return None
    report.tell(f"description {folder / layout.DESCRIPTION}: {_in_short(disk_image.description)}")
    return disk_image


def _check_warm(folder: Path, report: _Report) -> None:
    try:
        state = warm.read(folder)
    except warm.WarmError as error:
        report.tell("warm state", str(error))
        return
    report.tell("warm state" if state else "no warm state")


def _check_signature(context: CommandContext, folder: Path, report: _Report) -> None:
    if not manifest.exists(folder):
        report.tell("no digests: it is not signed")
        return
    try:
        known = manifest.read(folder)
        with progress_bar.shown(f"reading {folder}", known.size) as advance:
            manifest.check(folder, known, advance)
        report.tell(f"digests of {len(known.parts)} parts, {known.size} bytes")
    except Refusal as refusal:
        report.tell("digests", refusal.what)
    if not context.settings.trusted_keys:
        report.tell("no signature was looked at: trusted_keys lists no key")
        return
    try:
        signed = signature.check(folder, signature.trusted(context.settings.trusted_keys))
        report.tell(f"signature by {signed.key}")
    except Refusal as refusal:
        report.tell("signature", refusal.what)


def _add_options(parser: Parser) -> None:
    option(parser, "image_dirs")
    parser.add_argument(
        "disk", metavar="DISK", help="the disk's file; it is only read, and may be on others (flattened)"
    )
    # Not `name`: the options of that name are settings of a session.
    parser.add_argument("--name", dest="image_name", metavar="NAME", required=True, help="the image's name")
    parser.add_argument("--version", dest="image_version", metavar="VERSION", required=True, help="the new version")
    parser.add_argument("--compress", action="store_true", help="smaller and slower: compress the disk (zstd)")
    parser.add_argument("--publish", action="store_true", help="make it current at once")
    parser.add_argument(
        "--format", choices=formats.CHOICES, default="", help="what DISK is, where its content misleads"
    )
    parser.add_argument("--description", metavar="FILE", help="an image.toml to take over (default: one beside DISK)")
    _describing(parser.add_argument_group("description", "instead of what is found on the disk; docs/images.md"))


def _check_options(parser: Parser) -> None:
    option(parser, "image_dirs")
    parser.add_argument("reference", metavar="NAME[@VERSION]")


COMMANDS = {"image add": Command(_add, _add_options), "image check": Command(_check, _check_options)}
