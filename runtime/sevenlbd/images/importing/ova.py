"""Appliances in one file (.ova): which of its members is the disk, and what machine it was exported from.

An OVA is an uncompressed tar: a description (OVF, an XML text), the disks, perhaps digests. A disk that is stored as it
is, is read where it lies in the archive. Names in it are compared with each other and never become paths.
Sources: DMTF DSP0243 (OVF 2.1), DSP0004 (ResourceType of CIM).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

from ...base.errors import ExitCode, Refusal
from ..formats import Piece
from . import archive
from .archive import Digest

_PROCESSORS, _MEMORY = "3", "4"
_UNITS = {"byte*2^20": 20, "megabytes": 20, "mb": 20, "byte*2^30": 30, "gigabytes": 30, "gb": 30, "byte*2^10": 10}
_POWER = re.compile(r"byte\*2\^(\d{1,2})")
_MOST_CHUNKS = 10_000  # a guess: 20 TB in pieces of 2 GB; DSP0243 (OVF) would number nine digits of them
# Encodings in which a `<` is never anything else; others could hide what we look for.
_ENCODINGS = ("utf-8", "us-ascii", "ascii", "iso-8859-1", "iso-8859-15", "windows-1252")
_DECLARED = re.compile(r"""<\?xml[^>]*encoding\s*=\s*["']([A-Za-z0-9._-]+)["']""")
_UNPACK = "unpack it (tar xf) and add the disk that you want by its own name"


@dataclass(frozen=True)
class Appliance:
    """The disk, and what the export says of the machine: memory in bytes, 0 and empty where it says nothing."""

    pieces: tuple[Piece, ...]
    """The disk's file, or several that follow each other (chunks)."""
    names: tuple[str, ...]
    memory: int
    cpus: int
    firmware: str
    capacity: int
    """The size of the disk, in bytes."""
    packed: bool = False
    """It is compressed with gzip."""
    digests: tuple[Digest, ...] = ()
    """What the archive says of the pieces' content, as far as it does."""

    @property
    def name(self) -> str:
        """How the disk is called in the archive."""
        return self.names[0]

    @property
    def disk(self) -> Piece | None:
        """The disk, where it lies in the archive as it is."""
        return None if self.packed or len(self.pieces) > 1 else self.pieces[0]


def read(whole: Piece) -> Appliance:
    """The appliance in the archive `whole`. Raises Refusal."""
    members = archive.members(whole)
    texts = [name for name in members if name.lower().endswith(".ovf")]
    if len(texts) != 1:
        raise _refused(whole, f"has {len(texts)} descriptions (.ovf); an OVA has one")
    digests = archive.digests(whole, members, texts[0])
    if texts[0] in digests:
        digests[texts[0]].check(members[texts[0]])
    root = _parsed(whole, archive.text(whole, texts[0], members[texts[0]]))
    disk, file = _disk_of(whole, root)
    names = _names(whole, file, members, texts[0])
    return Appliance(
        pieces=tuple(members[name] for name in names),
        names=tuple(names),
        memory=_amount(root, _MEMORY, 20),
        cpus=_amount(root, _PROCESSORS, 0),
        firmware=_firmware(root),
        capacity=_capacity(disk),
        packed=_packed(whole, file),
        digests=tuple(digests[name] for name in names if name in digests),
    )


def _refused(archive: Piece, what: str, hint: str = _UNPACK) -> Refusal:
    return Refusal(ExitCode.IMAGE, f"{archive.path}: {what}", hint=hint)


def _names(whole: Piece, file: ElementTree.Element, members: dict[str, Piece], beside: str) -> list[str]:
    """The members that are the disk. A reference is a URI, relative to the description."""
    href = file.get("href", "")
    folder = beside.rpartition("/")[0]
    for name in (href, unquote(href, errors="surrogateescape")):
        path = archive.plain(f"{folder}/{name}" if folder else name)
        if file.get("chunkSize"):
            chunks = [f"{path}.{number:09d}" for number in range(_MOST_CHUNKS)]
            if parts := chunks[: next((n for n, chunk in enumerate(chunks) if chunk not in members), _MOST_CHUNKS)]:
                return parts
        elif path in members:
            return [path]
    raise _refused(whole, f"its description names the disk `{href}`, which is not in it", "copy or export it anew")


def _parsed(whole: Piece, text: bytes) -> ElementTree.Element:
    decoded = _decoded(whole, text)
    # Nothing that an OVF needs, and all that can make a small text a large one or lead elsewhere.
    if "<!DOCTYPE" in decoded or "<!ENTITY" in decoded:
        raise _refused(whole, "its description is no plain OVF", "this may be an attack")
    try:
        root = ElementTree.fromstring(decoded)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise _refused(whole, f"its description is not XML: {error}") from None
    for element in root.iter():
        # Namespaces differ between the versions of OVF; the names in them do not.
        element.tag = _plain(element.tag)
        element.attrib = {_plain(name): value for name, value in element.attrib.items()}
    return root


def _decoded(whole: Piece, text: bytes) -> str:
    """The text in the encoding that its begin tells (XML 1.0, appendix F). Raises Refusal."""
    encoding = "utf-8-sig"
    if text[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encoding = "utf-16"
    elif text[:2] in (b"<\0", b"\0<"):
        encoding = "utf-16-le" if text[:1] == b"<" else "utf-16-be"
    elif declared := _DECLARED.match(text[:200].decode("ascii", "replace")):
        if declared[1].lower() not in _ENCODINGS:
            raise _refused(whole, f"its description is in {declared[1]}", "export it anew, or write it as UTF-8")
        encoding = encoding if declared[1].lower() == "utf-8" else declared[1]
    try:
        return text.decode(encoding)
    except ValueError as error:
        raise _refused(whole, f"its description is not XML: {error}") from None


def _plain(name: Any) -> str:
    return name.rpartition("}")[2] if isinstance(name, str) else ""


def _disk_of(whole: Piece, root: ElementTree.Element) -> tuple[ElementTree.Element, ElementTree.Element]:
    """The one disk that has a content, and the file with it."""
    files = {element.get("id", ""): element for element in root.iterfind("./References/File")}
    disks = {disk.get("fileRef", ""): disk for disk in root.iterfind("./DiskSection/Disk") if disk.get("fileRef")}
    if len(disks) != 1:
        names = ", ".join(files[file_id].get("href", "") for file_id in disks if file_id in files)
        what = f"its description names {len(disks)} disks{names and f' ({names})'}; an image has one"
        raise _refused(whole, what, "unpack it (tar xf) and add the disk that has the system by its own name")
    (file_id, disk), *_ = disks.items()
    if file_id not in files:
        raise _refused(whole, "its description refers to a file that it does not list")
    return disk, files[file_id]


def _packed(whole: Piece, file: ElementTree.Element) -> bool:
    method = file.get("compression", "") or "identity"
    if method not in ("identity", "gzip"):
        raise _refused(whole, f"its disk is compressed with {method}", "unpack both, and add the disk")
    return method == "gzip"


def _capacity(disk: ElementTree.Element) -> int:
    """The size that a disk has for its machine; 0 where that is not said plainly."""
    text = disk.get("capacity", "")
    unit = _POWER.fullmatch("".join(disk.get("capacityAllocationUnits", "").lower().split()))
    return int(text) << (int(unit[1]) if unit else 0) if text.isascii() and text.isdigit() and len(text) < 20 else 0


def _amount(root: ElementTree.Element, kind: str, power: int) -> int:
    """How much of a resource the machine had; its unit is 2^`power` when it names none."""
    for item in root.iterfind(".//VirtualHardwareSection/Item"):
        if (item.findtext("ResourceType") or "").strip() == kind:
            text = (item.findtext("VirtualQuantity") or "").strip()
            unit = "".join((item.findtext("AllocationUnits") or "").lower().split())
            if text.isascii() and text.isdigit() and len(text) < 10:
                return int(text) << (_UNITS.get(unit, power) if power else 0)
    return 0


def _firmware(root: ElementTree.Element) -> str:
    """`uefi` or `bios` where the export says so (VMware's own key)."""
    for element in root.iter("Config"):
        if element.get("key") == "firmware":
            return {"efi": "uefi", "bios": "bios"}.get(element.get("value", ""), "")
    return ""
