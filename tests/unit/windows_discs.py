"""Stand-ins for the two discs that a Windows is installed from, laid out like the real ones; no Windows is on them.

Microsoft's keeps its files in UDF, and a README in ISO 9660; virtio-win in Joliet and Rock Ridge. Run as a script
in the SIF, it puts `win.iso`, with the boot loader that is named behind it, and `virtio.iso` into a folder.
"""

from __future__ import annotations

import io
import struct
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import efi_programs
import pycdlib

DRIVERS = {"viostor": "viostor", "vioscsi": "vioscsi", "NetKVM": "netkvm", "vioserial": "vioser"}
SYSTEMS = ("w10", "w11", "2k22")
LOADER = "efi/boot/bootx64.efi"


@dataclass(frozen=True)
class Image:
    """An edition as a WIM lists it."""

    name: str
    kind: str = "Client"
    build: int = 26100
    architecture: int = 9
    languages: tuple[str, ...] = ("en-US",)
    id: str = "Enterprise"


ENTERPRISE, PRO = Image("Windows 11 Enterprise"), Image("Windows 11 Pro", id="Professional")


def xml(images: Iterable[Image]) -> str:
    """The list of editions as Microsoft writes it, without what nobody here reads."""
    entries = "".join(
        f'<IMAGE INDEX="{number}"><DIRCOUNT>3</DIRCOUNT><WINDOWS><ARCH>{image.architecture}</ARCH>'
        f"<PRODUCTNAME>Microsoft® Windows® Operating System</PRODUCTNAME>"
        f"<EDITIONID>{image.id}</EDITIONID><INSTALLATIONTYPE>{image.kind}</INSTALLATIONTYPE>"
        f"<LANGUAGES>{''.join(f'<LANGUAGE>{name}</LANGUAGE>' for name in image.languages)}"
        f"<DEFAULT>{image.languages[0]}</DEFAULT></LANGUAGES><VERSION><MAJOR>10</MAJOR><MINOR>0</MINOR>"
        f"<BUILD>{image.build}</BUILD></VERSION></WINDOWS><NAME>{image.name}</NAME></IMAGE>"
        for number, image in enumerate(images, 1)
    )
    return f"<WIM><TOTALBYTES>4096</TOTALBYTES>{entries}</WIM>"


def wim(listed: str, *, size: int | None = None, offset: int | None = None, flags: int = 0x02) -> bytes:
    """A WIM whose only content is its list of editions; `size`, `offset` and `flags` lie when they are given."""
    raw = b"\xff\xfe" + listed.encode("utf-16-le")
    data = b"a resource, as far as anybody knows. " * 50
    header = struct.pack("<8sIIII16sHHI", b"MSWIM\0\0\0", 208, 0x10D00, 0x20082, 32768, b"identifier of it", 1, 1, 1)
    length = len(raw) if size is None else size
    at = 208 + len(data) if offset is None else offset
    header = header.ljust(72, b"\0") + struct.pack("<QQQ", length | flags << 56, at, length)
    return header.ljust(208, b"\0") + data + raw


def windows_files(*images: Image, loader: bytes = b"") -> dict[str, bytes]:
    """What makes a disc Microsoft's; its boot loader is signed under an authority of the tests' own."""
    return {
        "sources/install.wim": wim(xml(images or (ENTERPRISE,))),
        "sources/boot.wim": wim(xml([Image("Microsoft Windows PE (amd64)")])),
        LOADER: loader or efi_programs.signed_by(efi_programs.known()),
        "setup.exe": b"MZ",
    }


def windows(target: Path, files: Mapping[str, bytes] | None = None) -> Path:
    """Microsoft's disc: everything in UDF, a README in ISO 9660."""
    iso = pycdlib.PyCdlib()
    iso.new(udf="2.60", vol_ident="CCCOMA_X64FRE_EN")
    readme = b'This disc contains a "UDF" file system'
    iso.add_fp(io.BytesIO(readme), len(readme), "/README.TXT;1")
    content = windows_files() if files is None else files
    for folder in folders(content):
        iso.add_directory(udf_path=f"/{folder}")
    for path, data in content.items():
        iso.add_fp(io.BytesIO(data), len(data), udf_path=f"/{path}")
    return written(iso, target)


def inf(version: str) -> bytes:
    """What a driver's INF says of itself, as virtio-win writes it."""
    return f'[Version]\r\nSignature = "$Windows NT$"\r\nDriverVer = 10/20/2025,{version} ; stampinf\r\n'.encode()


def virtio_files(systems: Iterable[str] = SYSTEMS, version: str = "100.101.104.28500") -> dict[str, bytes]:
    """What makes a disc virtio-win's."""
    drivers = {
        f"{folder}/{system}/amd64/{name}.inf": inf(version) for folder, name in DRIVERS.items() for system in systems
    }
    return drivers | {"virtio-win-gt-x64.msi": b"msi", "guest-agent/qemu-ga-x86_64.msi": b"msi"}


def virtio(target: Path, files: Mapping[str, bytes] | None = None) -> Path:
    """The driver disc: Joliet and Rock Ridge, as mkisofs makes it."""
    iso = pycdlib.PyCdlib()
    iso.new(interchange_level=3, joliet=3, rock_ridge="1.09", vol_ident="virtio-win")
    content = virtio_files() if files is None else files
    for folder in folders(content):
        iso.add_directory(plain(folder), rr_name=PurePosixPath(folder).name, joliet_path=f"/{folder}")
    for path, data in content.items():
        name = PurePosixPath(path).name
        iso.add_fp(io.BytesIO(data), len(data), f"{plain(path)};1", rr_name=name, joliet_path=f"/{path}")
    return written(iso, target)


def folders(files: Iterable[str]) -> list[str]:
    """Every folder of `files`, those above first."""
    return sorted({str(parent) for path in files for parent in PurePosixPath(path).parents[:-1]})


def plain(path: str) -> str:
    """A name as ISO 9660 takes it."""
    return "/" + path.upper().replace("-", "_")


def written(iso: pycdlib.PyCdlib, target: Path) -> Path:
    """Close the disc into a file."""
    iso.write(str(target))
    iso.close()
    return target


if __name__ == "__main__":
    place = Path(sys.argv[1])
    windows(place / "win.iso", windows_files(ENTERPRISE, PRO, loader=Path(sys.argv[2]).read_bytes()))
    virtio(place / "virtio.iso")
