"""The two discs that a Windows is installed from: Microsoft's, and the one with the virtio drivers.

What an ISO says may be hostile, and the library that reads it is no fortress: `look` has a process of its own do it,
which ends when it wants more than a gigabyte or a minute of a CPU.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from ...base import process
from ...base.errors import ExitCode, Refusal
from . import disc_files, wim
from .wim import Edition

_INSTALL = ("install.wim", "install.esd", "install.swm")
_CHANNEL = "sources/ei.cfg"  # learn.microsoft.com, "Windows Setup Edition Configuration and Product ID Files"
_NEEDED = ("sources/boot.wim", "efi/boot/bootx64.efi")
DRIVERS = {"viostor": "viostor.inf", "vioscsi": "vioscsi.inf", "NetKVM": "netkvm.inf", "vioserial": "vioser.inf"}
"""Folders of the driver disc that Windows cannot be installed or reached without, with a file of each."""
DRIVERS_MSI = "virtio-win-gt-x64.msi"
AGENT_MSI = "guest-agent/qemu-ga-x86_64.msi"
_SERVERS = {14393: "2k16", 17763: "2k19", 20348: "2k22", 26100: "2k25"}
_FIRST_W11 = 22000  # learn.microsoft.com, "Windows 11 release information": version 21H2
_MAX_CHANNEL = 1000  # bytes; three short lines
_LIMITS = ("/usr/bin/prlimit", f"--as={1 << 30}", "--cpu=60", "--")


@dataclass(frozen=True)
class WindowsDisc:
    """Microsoft's disc: the editions on it."""

    path: Path
    editions: tuple[Edition, ...]
    volume: bool = False
    """Whether it is volume-licence media: its `ei.cfg` says so."""

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

    def check(self, edition: Edition) -> str:
        """The folder name of the edition's drivers. Raises Refusal when some are missing."""
        system = driver_folder(edition)
        if system in self.systems:
            return system
        what = f"{self.path}: has not all drivers for {edition.name} ({', '.join(DRIVERS)} in folders `{system}`)"
        there = f"it is complete for: {', '.join(self.systems) or 'nothing'}"
        raise Refusal(ExitCode.IMAGE, f"{what}; {there}", hint="fetch a newer virtio-win ISO")


def driver_folder(edition: Edition) -> str:
    """How the driver disc calls an edition's system, for instance `w11` or `2k22`."""
    if edition.kind.startswith("Server"):
        return _SERVERS[max((build for build in _SERVERS if build <= edition.build), default=min(_SERVERS))]
    return "w11" if edition.build >= _FIRST_W11 else "w10"


def windows(path: Path) -> WindowsDisc:
    """Read Microsoft's disc. Raises Refusal when it is something else."""
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
    return WindowsDisc(path, tuple(editions), volume="volume" in channel.lower().split())


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
    return DriverDisc(path, tuple(complete))


def look(windows_iso: Path, driver_iso: Path) -> tuple[WindowsDisc, DriverDisc]:
    """Read both discs in a process of its own, with limits. Raises Refusal."""
    command = [*_LIMITS, *process.python(__name__, str(windows_iso), str(driver_iso))]
    try:
        reply = json.loads(asyncio.run(process.finish(command)))
    except (RuntimeError, ValueError):
        what = f"{windows_iso} or {driver_iso}: reading it took too much memory or time"
        raise Refusal(ExitCode.IMAGE, what, hint="fetch both again, compare their checksums") from None
    if "refused" in reply:
        raise Refusal(ExitCode(reply["code"]), reply["refused"], hint=reply["hint"])
    listed = (Edition(**raw | {"languages": tuple(raw["languages"])}) for raw in reply["editions"])
    return WindowsDisc(windows_iso, tuple(listed), reply["volume"]), DriverDisc(driver_iso, tuple(reply["systems"]))


def main(arguments: list[str]) -> None:
    """Print what is on both discs, or the refusal, as JSON."""
    try:
        disc, driver_disc = windows(Path(arguments[0])), drivers(Path(arguments[1]))
        facts: dict[str, object] = {
            "editions": [asdict(edition) for edition in disc.editions],
            "systems": driver_disc.systems,
            "volume": disc.volume,
        }
    except Refusal as refusal:
        facts = {"refused": refusal.what, "hint": refusal.hint, "code": refusal.code}
    print(json.dumps(facts))


if __name__ == "__main__":
    main(sys.argv[1:])
