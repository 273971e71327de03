"""The Windows images in a .wim, .esd or .swm file, as its own XML lists them.

The first 208 bytes are the header; it says where the XML lies, which is never compressed and UTF-16. Source: Microsoft,
"Windows Imaging File Format (WIM)", October 2007; wimlib's documentation for .esd files.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from xml.etree import ElementTree

MAGIC = b"MSWIM\0\0\0"
_HEADER = struct.Struct("<8sIIII16sHHI")
HEADER_SIZE = 208  # bytes; Microsoft, "Windows Imaging File Format": WIMHEADER_V1_PACKED
_XML_AT = 72  # the same: rhXmlData
_RESOURCE = struct.Struct("<QQQ")  # the first one holds the size in 7 bytes and the flags in the eighth
_COMPRESSED = 0x04  # the same: RESHDR_FLAG_COMPRESSED
_MAX_XML = 8 << 20  # bytes; a guess: it has some dozens of KiB
_MAX_TEXT = 200  # characters; a guess: the names of editions fit on a line
AMD64 = "9"

Read = Callable[[int, int], bytes]
"""What reads `size` bytes at an offset."""


class WimError(Exception):
    """The file is no WIM that can be used; the text says why."""


@dataclass(frozen=True)
class Edition:
    """One image of the file. `name` is the English name, as `Windows 11 Enterprise`."""

    index: int
    name: str
    kind: str
    """`Client`, `Server` or `Server Core`."""
    architecture: str
    build: int
    languages: tuple[str, ...]
    id: str = ""
    """Windows' own word for it in every language, such as `Professional`; empty on a disc that does not tell."""


def editions(read: Read) -> list[Edition]:
    """The images in the file that `read(size, offset)` reads. Raises WimError."""
    header = read(HEADER_SIZE, 0)
    if len(header) < HEADER_SIZE or not header.startswith(MAGIC):
        raise WimError("it does not begin with a WIM header")
    packed, offset, size = _RESOURCE.unpack_from(header, _XML_AT)
    stored, flags = packed & ((1 << 56) - 1), packed >> 56
    if flags & _COMPRESSED or stored != size:
        raise WimError("its list of editions is compressed, which no WIM has")
    if not 0 < size <= _MAX_XML:
        raise WimError(f"its list of editions has {size} bytes, which makes no sense")
    raw = read(size, offset)
    if len(raw) < size:
        raise WimError("it is truncated: the list of editions lies beyond its end")
    return _listed(raw)


def _listed(raw: bytes) -> list[Edition]:
    try:
        text = raw.decode("utf-16")
        if "<!" in text:
            raise WimError("its list of editions declares entities, which no WIM does")
        editions = [_edition(image) for image in ElementTree.fromstring(text).iter("IMAGE")]
    except (UnicodeDecodeError, ElementTree.ParseError, ValueError) as error:
        raise WimError(f"its list of editions cannot be read: {error}") from None
    if not editions:
        raise WimError("it holds no Windows")
    return editions


def _edition(image: ElementTree.Element) -> Edition:
    def text(path: str) -> str:
        return (image.findtext(path) or "").strip()[:_MAX_TEXT]

    return Edition(
        index=int(image.get("INDEX", "")),
        name=text("NAME") or text("DISPLAYNAME"),
        kind=text("WINDOWS/INSTALLATIONTYPE"),
        architecture=text("WINDOWS/ARCH"),
        build=int(text("WINDOWS/VERSION/BUILD") or 0),
        languages=tuple((node.text or "").strip() for node in image.iterfind("WINDOWS/LANGUAGES/LANGUAGE")),
        id=text("WINDOWS/EDITIONID"),
    )
