"""A warm state: a machine frozen just before anybody logs in, and what another one must equal to go on from it.

    warm/warm.json      what it needs
    warm/memory         the guest's memory, sparse; mapped privately by every session
    warm/state          QEMU's migration stream of the devices
    warm/disk.qcow2     what the guest had written, on top of the version's disk
    warm/variables.fd   UEFI variables, unless the firmware is a BIOS

The stream is only understood by the same QEMU with the same machine, and the CPU and memory must be the same ones.
Whatever is wrong with a warm state is told as text: the session boots instead. Source: QEMU, docs/devel/migration.
"""

from __future__ import annotations

import json
import os
import stat
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from . import layout, qcow2

_SCHEMA = 1  # the record's format
_MAX_RECORD = 64 * 1024  # bytes; a guess: a record has a few KiB, most of it the certificate
_WORDS = {
    "qemu": "QEMU",
    "machine": "machine type",
    "accel": "accelerator",
    "cpu": "CPU model",
    "cpus": "CPUs",
    "memory": "memory",
    "network": "network",
    "disk_bus": "disk bus",
    "logical_block_size": "the disk's sector size",
    "nic": "network card",
    "layers": "size of the disk's files",
    "egress": "ways out",
    "vendor": "the CPU's vendor",
}
# A guest that was told of these ways out can do with those.
_LESS = {"ipv4": ("",), "ipv6": ("", "ipv4")}


class WarmError(Exception):
    """The warm state cannot be used; the text says why."""


@dataclass(frozen=True)
class Needs:
    """What must be equal. `memory` in bytes; `layers` are the sizes of the disk's files, from the top, in bytes."""

    qemu: str
    machine: str
    accel: str
    cpu: str
    cpus: int
    memory: int
    network: str
    firmware: str
    disk_bus: str
    nic: str
    display: str
    layers: tuple[int, ...]
    egress: str = ""
    """The ways out that the guest was told of when it got its address: none, `ipv4`, or `ipv6` beside that.

    Who was told of more than there is finds the same wall a hop later.
    """
    logical_block_size: int = 512
    vendor: str = ""
    """Whose CPU it ran on under KVM, as that calls itself; empty in emulation.

    A kernel calls its hypervisor by the vendor's own instruction (vmcall, vmmcall) and keeps to what its CPU was when
    it booted. A state of before this was written down fits no CPU: nobody knows which it would be.
    """

    def differences(self, here: Needs) -> list[str]:
        """What is not as it was frozen, in words; empty when the state fits."""
        reasons = []
        for field in fields(self):
            frozen, ours = getattr(self, field.name), getattr(here, field.name)
            if frozen != ours and not (field.name == "egress" and ours in _LESS.get(frozen, ())):
                what = _WORDS.get(field.name, field.name)
                reasons.append(f"{what} {_spell(field.name, frozen)} when frozen, {_spell(field.name, ours)} here")
        return reasons


@dataclass(frozen=True)
class WarmState:
    """A whole warm state in `folder`."""

    folder: Path
    needs: Needs
    certificate: str
    """SHA-256 fingerprint of the certificate that the guest's RDP server showed before it was frozen; empty: none.

    For people: each session reads what the guest shows then, which is another one when this one has lapsed.
    """

    @property
    def disk(self) -> Path:
        """What the guest had written."""
        return self.folder / layout.DISK

    @property
    def memory(self) -> Path:
        """The guest's memory."""
        return self.folder / layout.WARM_MEMORY

    @property
    def state(self) -> Path:
        """The devices."""
        return self.folder / layout.WARM_STATE

    @property
    def variables(self) -> Path | None:
        """UEFI variables."""
        return None if self.needs.firmware == "bios" else self.folder / layout.VARIABLES


def read(image: Path) -> WarmState | None:
    """The warm state of the image in folder `image`; None when it has none. Raises WarmError."""
    folder = image / layout.WARM
    if not os.access(folder / layout.WARM_RECORD, os.F_OK):
        return None
    warm_state = _read_record(folder)
    for path in filter(None, (warm_state.disk, warm_state.memory, warm_state.state, warm_state.variables)):
        _check_file(path)
    if os.access(image / layout.ENCRYPTED, os.F_OK):
        return warm_state  # it was looked at when it was encrypted (images/arrival), and can be here by nobody
    if warm_state.memory.stat().st_size != warm_state.needs.memory:
        raise WarmError(f"{warm_state.memory} has not the size of the memory that was frozen")
    try:
        # Its backing file's name is never followed: the layers below are given to QEMU by name.
        qcow2.read(warm_state.disk)
    except (qcow2.HeaderError, OSError) as error:
        raise WarmError(f"{warm_state.disk}: {error}") from None
    return warm_state


def write(state: WarmState) -> None:
    """Complete a warm state, whose files are there, by its record. Raises OSError."""
    record = {"schema": _SCHEMA, "needs": asdict(state.needs), "certificate": state.certificate}
    (state.folder / layout.WARM_RECORD).write_text(json.dumps(record, indent=1) + "\n")


def _read_record(folder: Path) -> WarmState:
    path = folder / layout.WARM_RECORD
    try:
        with path.open() as file:
            record = json.loads(file.read(_MAX_RECORD))
        if record["schema"] != _SCHEMA:
            raise WarmError(f"{path}: is of a format that this 7lbd does not know")
        needs = record["needs"]
        return WarmState(folder, Needs(**needs | {"layers": tuple(needs["layers"])}), str(record["certificate"]))
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise WarmError(f"{path}: cannot be read: {error}") from None


def _check_file(path: Path) -> None:
    try:
        status = path.lstat()
    except OSError as error:
        raise WarmError(f"{path}: {error.strerror}") from None
    if not stat.S_ISREG(status.st_mode) or not os.access(path, os.R_OK):
        raise WarmError(f"{path}: is not a file that you can read")


def _spell(name: str, value: object) -> str:
    if name == "memory" and isinstance(value, int):
        return f"{value / 2**30:.1f} GiB"
    if name == "vendor":
        return str(value) or "unknown"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value) or "none"
