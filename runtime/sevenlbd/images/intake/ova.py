"""Appliances in one file (.ova): which of its members is the disk, and what machine it was exported from.

An OVA is an uncompressed tar: a description (OVF, an XML text), the disks, perhaps digests. Nothing is unpacked: the
disk is read where it lies in the archive. Names in it are compared with each other and never become paths.
Sources: DMTF DSP0243 (OVF 2.1), DSP0004 (ResourceType of CIM); POSIX, pax.
"""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from ...errors import ExitCode, Refusal
from .formats import Piece

_MOST_TEXT = 1 << 20
_MOST_MEMBERS = 1000
_PROCESSORS, _MEMORY = "3", "4"
_UNITS = {"byte*2^20": 20, "megabytes": 20, "mb": 20, "byte*2^30": 30, "gigabytes": 30, "gb": 30, "byte*2^10": 10}
_UNPACK = "unpack it (tar xf) and add the disk that you want by its own name"


@dataclass(frozen=True)
class Appliance:
    """The disk, and what the export says of the machine: memory in bytes, 0 and empty where it says nothing."""

    disk: Piece
    name: str
    memory: int
    cpus: int
    firmware: str


def read(archive: Piece) -> Appliance:
    """The appliance in `archive`. Raises Refusal."""
    members = _members(archive)
    texts = [member for member in members.values() if member.name.lower().endswith(".ovf")]
    if len(texts) != 1:
        raise _refused(archive, f"has {len(texts)} descriptions (.ovf); an OVA has one")
    if texts[0].size > _MOST_TEXT:
        raise _refused(archive, f"its description {texts[0].name} is far too long")
    root = _parsed(archive, archive.read(texts[0].offset_data, texts[0].size))
    name = _disk_of(archive, root)
    if name not in members:
        raise _refused(archive, f"its description names the disk `{name}`, which is not in it")
    disk = Piece(archive.path, archive.offset + members[name].offset_data, members[name].size, whole=False)
    return Appliance(disk, name, _amount(root, _MEMORY, 20), _amount(root, _PROCESSORS, 0), _firmware(root))


def _refused(archive: Piece, what: str, hint: str = _UNPACK) -> Refusal:
    return Refusal(ExitCode.IMAGE, f"{archive.path}: {what}", hint=hint)


def _members(archive: Piece) -> dict[str, tarfile.TarInfo]:
    """Every member by name; all must be plain files with plain names, stored in one piece."""
    found: dict[str, tarfile.TarInfo] = {}
    try:
        with archive.path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                if not member.isreg() or member.issparse():
                    raise _refused(archive, f"`{member.name}` in it is not a plain file")
                if "/" in member.name or member.name in ("", ".", "..") or "\\" in member.name:
                    raise _refused(archive, f"`{member.name}` in it is not a plain name", "this may be an attack")
                if member.name in found or len(found) == _MOST_MEMBERS:
                    raise _refused(archive, f"it has `{member.name}` twice, or too many files")
                if member.offset_data + member.size > archive.size:
                    raise _refused(archive, f"is truncated: `{member.name}` is not all there", "copy it anew")
                found[member.name] = member
    except (tarfile.TarError, ValueError, OverflowError, OSError, EOFError) as error:
        raise _refused(archive, f"is not an OVA: {error}", "copy it anew") from None
    return found


def _parsed(archive: Piece, text: bytes) -> ElementTree.Element:
    if b"<!DOCTYPE" in text or b"<!ENTITY" in text or b"\0" in text[:4]:
        raise _refused(archive, "its description is no plain OVF", "this may be an attack")
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise _refused(archive, f"its description is not XML: {error}") from None
    for element in root.iter():
        # Namespaces differ between the versions of OVF; the names in them do not.
        element.tag = _plain(element.tag)
        element.attrib = {_plain(name): value for name, value in element.attrib.items()}
    return root


def _plain(name: Any) -> str:
    return name.rpartition("}")[2] if isinstance(name, str) else ""


def _disk_of(archive: Piece, root: ElementTree.Element) -> str:
    """The name of the one file that is a disk."""
    files = {element.get("id", ""): element for element in root.iterfind("./References/File")}
    wanted = {element.get("fileRef", "") for element in root.iterfind("./DiskSection/Disk")} - {""}
    if len(wanted) != 1:
        raise _refused(archive, f"its description names {len(wanted)} disks; an image has one")
    file = files.get(wanted.pop())
    if file is None:
        raise _refused(archive, "its description refers to a file that it does not list")
    if file.get("compression", "identity") not in ("", "identity") or file.get("chunkSize"):
        raise _refused(archive, "its disk is compressed or in pieces", "unpack it, put it together, and add that")
    return file.get("href", "")


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
