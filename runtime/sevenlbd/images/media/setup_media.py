"""The two discs that a Windows is installed from: Microsoft's, and the one with the virtio drivers.

What an ISO says may be hostile, and the library that reads it is no fortress: `look` has a process of its own do it,
which ends when it wants more than a gigabyte or a minute of a CPU.
"""

from __future__ import annotations

import asyncio
import codecs
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ...base import process
from ...base.errors import ExitCode, Refusal
from . import authenticode, disc_files, wim
from .authenticode import Signer
from .disc_files import Disc
from .wim import Edition

if TYPE_CHECKING:
    from cryptography import x509

_INSTALL = ("install.wim", "install.esd", "install.swm")
_CHANNEL = "sources/ei.cfg"  # learn.microsoft.com, "Windows Setup Edition Configuration and Product ID Files"
_LOADER = "efi/boot/bootx64.efi"
_NEEDED = ("sources/boot.wim", _LOADER)
# What a firmware starts, in turn: from the disc's own boot image, which waits for a key, and then from the disc.
_LOADERS = ("efi/microsoft/boot/cdboot.efi", _LOADER)
DRIVERS = {"viostor": "viostor.inf", "vioscsi": "vioscsi.inf", "NetKVM": "netkvm.inf", "vioserial": "vioser.inf"}
"""Folders of the driver disc that Windows cannot be installed or reached without, with a file of each."""
DRIVERS_MSI = "virtio-win-gt-x64.msi"
AGENT_MSI = "guest-agent/qemu-ga-x86_64.msi"
_SERVERS = {14393: "2k16", 17763: "2k19", 20348: "2k22", 26100: "2k25"}
_FIRST_W11 = 22000  # learn.microsoft.com, "Windows 11 release information": version 21H2
_MAX_CHANNEL = 1000  # bytes; three short lines
_NETKVM = "NetKVM"
_MAX_INF = 1 << 20  # bytes; a guess: that of NetKVM has some 20 KiB
# learn.microsoft.com, "INF DriverVer Directive". virtio-win's last number is the release's: 28500 is that of 0.1.285.
_DRIVER_VERSION = re.compile(r"^\s*DriverVer\s*=\s*[\d/]+\s*,\s*(\d+(?:\.\d+){3})", re.IGNORECASE | re.MULTILINE)
_STEADY_NETKVM = 285  # the first release that virtio-win's threads on newer Windows know as steady
_LIMITS = ("/usr/bin/prlimit", f"--as={1 << 30}", "--cpu=60", "--")


@dataclass(frozen=True)
class BootLoader:
    """A program that a firmware starts from the disc, and who signed it."""

    path: str
    signers: tuple[Signer, ...]
    problem: str = ""
    """Why nobody can be named."""

    def __str__(self) -> str:
        under = " and ".join(signer.authority for signer in self.signers)
        return f"{self.path}: {f'signed under {under}' if under else self.problem}"


@dataclass(frozen=True)
class WindowsDisc:
    """Microsoft's disc: the editions on it, and what it boots by."""

    path: Path
    editions: tuple[Edition, ...]
    volume: bool = False
    """Whether it is volume-licence media: its `ei.cfg` says so."""
    loaders: tuple[BootLoader, ...] = ()
    evaluation: bool = False
    """Whether it is evaluation media, by the same file."""

    def check_secure_boot(self) -> None:
        """Refuse a disc that machines with Secure Boot would not start. Raises Refusal."""
        for loader in self.loaders:
            if not any(signer.trusted for signer in loader.signers):
                what = f"{self.path}: a machine with Secure Boot does not start it: {loader}"
                hint = "take Microsoft's own disc; or --firmware uefi, which has no Secure Boot"
                raise Refusal(ExitCode.IMAGE, what, hint=hint)

    def edition(self, name: str, language: str) -> Edition:
        """The edition of that English name; an empty name is for a disc that has but one. Raises Refusal."""
        names = ", ".join(edition.name for edition in self.editions)
        fits = [edition for edition in self.editions if edition.name.lower() == name.lower()]
        if not name and len(self.editions) == 1:
            fits = list(self.editions)
        if not fits:
            what = f"there is no edition `{name}` on it" if name else "it has several editions, and none was named"
            raise Refusal(ExitCode.IMAGE, f"{self.path}: {what}; there are: {names}", hint="--edition NAME")
        chosen = fits[0]
        if chosen.architecture != wim.AMD64:
            raise Refusal(ExitCode.IMAGE, f"{self.path}: it is not for x86-64", hint="fetch the 64-bit ISO for x86")
        if language.lower() not in (known.lower() for known in chosen.languages):
            known = ", ".join(chosen.languages)
            what = f"{self.path}: {chosen.name} does not speak {language}; it speaks: {known}"
            raise Refusal(ExitCode.IMAGE, what, hint="--language, or an ISO in that language")
        return chosen


@dataclass(frozen=True)
class DriverDisc:
    """The virtio-win disc: the names of the systems that it has every needed driver for, such as `w11`."""

    path: Path
    systems: tuple[str, ...]
    netkvm: dict[str, str] = field(default_factory=dict)
    """The version of each system's network driver, as `100.101.104.28500`; none where the disc does not tell."""

    def check(self, edition: Edition) -> str:
        """The folder name of the edition's drivers. Raises Refusal when some are missing."""
        system = driver_folder(edition)
        if system in self.systems:
            return system
        what = f"{self.path}: has not all drivers for {edition.name} ({', '.join(DRIVERS)} in folders `{system}`)"
        there = f"it is complete for: {', '.join(self.systems) or 'nothing'}"
        raise Refusal(ExitCode.IMAGE, f"{what}; {there}", hint="fetch a newer virtio-win ISO")

    def doubts(self, system: str) -> str:
        """What is known to be wrong with the drivers for that system, or nothing."""
        version = self.netkvm.get(system, "")
        release = int(version.rpartition(".")[2] or 0) // 100
        if release >= _STEADY_NETKVM:
            return ""
        which = f"{version}, of release 0.1.{release}" if version else "of a version that its netkvm.inf does not tell"
        return (
            f"{self.path}: its network driver (NetKVM) is {which}: those before 0.1.{_STEADY_NETKVM} have stalled and "
            "crashed newer Windows (24H2, Server 2025); take a newer virtio-win ISO"
        )


def driver_folder(edition: Edition) -> str:
    """How the driver disc calls an edition's system, for instance `w11` or `2k22`."""
    if edition.kind.startswith("Server"):
        return _SERVERS[max((build for build in _SERVERS if build <= edition.build), default=min(_SERVERS))]
    return "w11" if edition.build >= _FIRST_W11 else "w10"


def windows(path: Path, authorities: Path | None = None) -> WindowsDisc:
    """Read Microsoft's disc; `authorities` are what Secure Boot trusts. Raises Refusal when it is something else."""
    trusted = authenticode.authorities(authorities or authenticode.AUTHORITIES)
    with disc_files.opened(path) as disc:
        missing = [name for name in _NEEDED if name not in disc]
        install = next((f"sources/{name}" for name in _INSTALL if f"sources/{name}" in disc), None)
        if missing or not install:
            lacks = missing[0] if missing else "sources/install.wim"
            raise Refusal(
                ExitCode.IMAGE, f"{path}: is no Windows installation disc: `{lacks}` is missing", hint="--iso WIN.iso"
            )
        try:
            editions = wim.editions(lambda size, offset: disc.read(install, size, offset))
        except wim.WimError as error:
            hint = "fetch it again, compare its checksum"
            raise Refusal(ExitCode.IMAGE, f"{path}: {install}: {error}", hint=hint) from None
        channel = disc.read(_CHANNEL, _MAX_CHANNEL).decode("ascii", "replace") if _CHANNEL in disc else ""
        loaders = tuple(_boot_loader(disc, name, trusted) for name in _LOADERS if name in disc)
    words = channel.lower().split()
    return WindowsDisc(path, tuple(editions), "volume" in words, loaders, "eval" in words)


def _boot_loader(disc: Disc, name: str, trusted: Sequence[x509.Certificate]) -> BootLoader:
    try:
        return BootLoader(name, tuple(authenticode.signers(disc.read(name, authenticode.MAX_PROGRAM), trusted)))
    except authenticode.AuthenticodeError as error:
        return BootLoader(name, (), str(error))


def drivers(path: Path) -> DriverDisc:
    """Read the driver disc. Raises Refusal when it is something else."""
    with disc_files.opened(path) as disc:
        for name in (DRIVERS_MSI, AGENT_MSI):
            if name not in disc:
                raise Refusal(
                    ExitCode.IMAGE, f"{path}: is no virtio-win disc: `{name}` is missing", hint="--virtio VIRTIO.iso"
                )
        known = ("w10", "w11", *_SERVERS.values())
        complete = [
            system
            for system in known
            if all(f"{folder}/{system}/amd64/{file}" in disc for folder, file in DRIVERS.items())
        ]
        versions = {
            system: _driver_version(disc, f"{_NETKVM}/{system}/amd64/{DRIVERS[_NETKVM]}") for system in complete
        }
    return DriverDisc(path, tuple(complete), {system: version for system, version in versions.items() if version})


def _driver_version(disc: Disc, inf: str) -> str:
    """What an INF says of its driver; these are written in UTF-16, or in letters of which only ASCII's matter here."""
    raw = disc.read(inf, _MAX_INF)
    wide = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    match = _DRIVER_VERSION.search(raw.decode("utf-16" if wide else "latin-1", "replace"))
    return match[1] if match else ""


def look(windows_iso: Path, driver_iso: Path) -> tuple[WindowsDisc, DriverDisc]:
    """Read both discs in a process of its own, with limits. Raises Refusal."""
    discs = (str(windows_iso), str(driver_iso), str(authenticode.AUTHORITIES))
    command = [*_LIMITS, *process.python(__name__, *discs)]
    try:
        reply = json.loads(asyncio.run(process.finish(command)))
    except (RuntimeError, ValueError):
        what = f"{windows_iso} or {driver_iso}: reading it took too much memory or time"
        raise Refusal(ExitCode.IMAGE, what, hint="fetch both again, compare their checksums") from None
    if "refused" in reply:
        raise Refusal(ExitCode(reply["code"]), reply["refused"], hint=reply["hint"])
    listed = (Edition(**raw | {"languages": tuple(raw["languages"])}) for raw in reply["editions"])
    loaders = (
        BootLoader(**raw | {"signers": tuple(Signer(**signer) for signer in raw["signers"])})
        for raw in reply["loaders"]
    )
    disc = WindowsDisc(windows_iso, tuple(listed), reply["volume"], tuple(loaders), reply["evaluation"])
    return disc, DriverDisc(driver_iso, tuple(reply["systems"]), reply["netkvm"])


def main(arguments: list[str]) -> None:
    """Print what is on both discs, or the refusal, as JSON."""
    try:
        windows_iso, driver_iso, authorities = map(Path, arguments)
        disc, driver_disc = windows(windows_iso, authorities), drivers(driver_iso)
        facts: dict[str, object] = {
            "editions": [asdict(edition) for edition in disc.editions],
            "systems": driver_disc.systems,
            "netkvm": driver_disc.netkvm,
            "volume": disc.volume,
            "evaluation": disc.evaluation,
            "loaders": [asdict(loader) for loader in disc.loaders],
        }
    except Refusal as refusal:
        facts = {"refused": refusal.what, "hint": refusal.hint, "code": refusal.code}
    print(json.dumps(facts))


if __name__ == "__main__":
    main(sys.argv[1:])
