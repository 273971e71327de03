"""QEMU's command line for a plan. It only composes; `machine` runs it. Source: QEMU's invocation manual."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...base.addresses import GUEST, HOST, HOST_V6, MAC, NAME_SERVER, SUBNET, SUBNET_V6
from ...wire import shared_files
from ...wire.inner_files import PRIVATE
from ...wire.plan import Guest, Layer, Plan
from ..init.root import (
    OVERLAY,
    SESSION,
    VARIABLES_TEMPLATE,
    WARM_DISK,
    WARM_MEMORY,
    WARM_VARIABLES,
    cdrom_path,
    layer_path,
)
from ..net.network import USER_NET_RDP

VNC = PRIVATE / "vnc.sock"
TPM = PRIVATE / "tpm.sock"
VARIABLES = PRIVATE / shared_files.VARIABLES
FROZEN_MEMORY = SESSION / shared_files.MEMORY
"""The memory of a machine that is going to be frozen."""
SERIAL_LOG = SESSION / shared_files.SERIAL_LOG
_OVMF = Path("/usr/share/OVMF")
_FIRMWARE = {
    "uefi": (_OVMF / "OVMF_CODE_4M.fd", _OVMF / "OVMF_VARS_4M.fd"),
    # The store is made when the SIF is built: it has both generations of Microsoft's certificates.
    "uefi-secure": (_OVMF / "OVMF_CODE_4M.ms.fd", Path("/usr/share/7lbd/firmware/secure-boot.fd")),
}
# QEMU, docs/system/i386/hyperv.rst: what Windows needs to run well; none blocks a migration.
_HYPERV = (
    "hv-relaxed=on,hv-vapic=on,hv-spinlocks=0x1fff,hv-vpindex=on,hv-runtime=on,hv-time=on,hv-synic=on,"
    "hv-stimer=on,hv-stimer-direct=on,hv-frequencies=on,hv-ipi=on"
)
# Flushing by hypercall crashes Windows (0xA in MiUserFault) on AMD CPUs with some microcodes; without it nothing does:
# virtio-win's kvm-guest-drivers-windows, issue 1582. Hygon's are AMD's design.
_FLUSHES_WELL = ("GenuineIntel",)
# Bytes. Windows with the updates of May 2026 trims no disk that leaves this open; 64 KiB is what was reported to work.
_WINDOWS_DISCARD = 64 << 10
_SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
_SECTOR = 512  # bytes; QEMU's default
_OVERLAY, _WARM, _LAYER = "overlay", "warm", "layer"
_KEY = "-key"
_DISPLAYS = {"virtio": "virtio-vga", "std": "VGA"}


@dataclass(frozen=True)
class Descriptors:
    """Inherited file descriptors: connected sockets for QMP and the agent, the listening one of the serial line, the
    tap (None: user-mode), pipes with the keys of encrypted disks, by name, and memory that stands for files."""

    qmp: int
    agent: int
    serial: int
    tap: int | None
    keys: Mapping[str, int] = field(default_factory=dict)
    held: tuple[int, ...] = ()

    def numbers(self) -> list[int]:
        """All of them, for the one who starts QEMU."""
        single = [fd for fd in (self.qmp, self.agent, self.serial, self.tap) if fd is not None]
        return [*single, *self.keys.values(), *self.held]


def firmware(plan: Plan) -> tuple[Path, Path] | None:
    """Code and variable store of the guest's UEFI, or None for a BIOS."""
    if plan.guest.firmware == "bios":
        return None
    code, variables = _FIRMWARE[plan.guest.firmware]
    if plan.resumed:
        return _OVMF / code, SESSION / shared_files.VARIABLES
    if plan.warm:
        return code, WARM_VARIABLES
    return code, VARIABLES_TEMPLATE if plan.guest.variables else variables


def command(plan: Plan, fds: Descriptors, oem_strings: Sequence[Path], *, io_uring: bool) -> list[str]:
    """The whole command, in groups that read like the machine's parts list."""
    guest = plan.guest
    return [
        "/usr/bin/qemu-system-x86_64",
        *("-name", f"7lbd-{plan.session},debug-threads=on"),
        *("-nodefaults", "-no-user-config", "-sandbox", _SANDBOX, "-msg", "timestamp=on"),
        *_board(plan),
        *_firmware_drives(plan),
        *_secrets(fds.keys),
        *_disk(plan, "io_uring" if io_uring else "threads"),
        *_cdroms(plan),
        *_network(plan, fds.tap),
        *_screen(plan),
        *_channels(fds, oem_strings),
        *(["-incoming", "defer"] if plan.goes_on else []),
        *("-rtc", f"base={guest.clock}{',driftfix=slew' if guest.os == 'windows' else ''}"),
    ]


def _board(plan: Plan) -> Iterator[str]:
    guest = plan.guest
    options = f"{guest.machine},accel={plan.accel},memory-backend=ram,hpet=off,vmport=off"
    if plan.encrypted:
        options += ",dump-guest-core=off"
    if guest.firmware != "bios":
        options += ",pflash0=code,pflash1=variables"
    if guest.firmware == "uefi-secure":
        options += ",smm=on"
        yield from ("-global", "driver=cfi.pflash01,property=secure,value=on")
    yield from ("-machine", options)
    yield from ("-cpu", cpu(guest, plan.accel, _frozen_cpu(plan)))
    # Windows' client editions use one socket only, however many cores it has.
    yield from ("-smp", f"cpus={guest.cpus},sockets=1,cores={guest.cpus},threads=1")
    yield from ("-m", f"{guest.memory >> 20}M")
    yield from ("-object", _memory(plan))
    yield from ("-object", "rng-builtin,id=rng", "-device", "virtio-rng-pci,rng=rng")
    # Tells a guest that goes on from a frozen state that it is another one now: it reseeds its random numbers.
    yield from ("-device", "vmgenid,guid=auto")
    # A guest that sleeps or hibernates would look dead.
    yield from ("-global", "ICH9-LPC.disable_s3=1", "-global", "ICH9-LPC.disable_s4=1")
    if plan.accel == "kvm":
        yield from ("-global", "kvm-pit.lost_tick_policy=delay")


def _memory(plan: Plan) -> str:
    """The guest's memory. Source: QEMU, docs/devel/migration/features and qapi MemoryBackendFileProperties.

    A machine to be frozen keeps it in a file, an encrypted one in what stands for that. One that goes on from a frozen
    one maps that file privately: what it does not write, all sessions of the node share through the page cache.
    """
    size = plan.guest.memory
    if plan.freeze or plan.encrypted:
        return f"memory-backend-file,id=ram,size={size},mem-path={FROZEN_MEMORY},share=on"
    if plan.warm:
        return f"memory-backend-file,id=ram,size={size},mem-path={WARM_MEMORY},share=off,readonly=on,rom=off"
    return f"memory-backend-ram,id=ram,size={size}"


def _frozen_cpu(plan: Plan) -> str:
    """The CPU model that other nodes must have, too; empty for a machine that stays on this one."""
    if plan.warm:
        return plan.warm.cpu
    return plan.guest.cpu if plan.guest.portable else ""


def cpu(guest: Guest, accel: str, frozen: str = "") -> str:
    """The CPU: no nested virtualisation, and for Windows under KVM its enlightenments, each by name.

    `frozen` is the model of a warm state, which the node has to have with every feature.
    """
    model = f"{frozen or guest.cpu},vmx=off,svm=off"
    if accel == "kvm" and frozen:
        model += ",enforce=on"
    if accel == "kvm" and guest.os == "windows":
        return f"{model},{_HYPERV},hv-tlbflush={'on' if guest.vendor in _FLUSHES_WELL else 'off'}"
    return model


def _firmware_drives(plan: Plan) -> Iterator[str]:
    images = firmware(plan)
    if images:
        yield from _blockdev(**{"node-name": "code", "driver": "raw", "read-only": True, "file": _file(images[0])})
        yield from _blockdev(**{"node-name": "variables", "driver": "raw", "file": _file(VARIABLES)})
    if plan.guest.firmware == "uefi-secure":
        yield from ("-chardev", f"socket,id=tpm,path={TPM}", "-tpmdev", "emulator,id=tpm,chardev=tpm")
        yield from ("-device", "tpm-crb,tpmdev=tpm")


def _file(path: Path) -> dict[str, object]:
    return {"driver": "file", "filename": str(path)}


def _blockdev(**node: object) -> Iterator[str]:
    yield from ("-blockdev", json.dumps(node))


def keys(plan: Plan) -> dict[str, str]:
    """What opens the encrypted disks, by the names that the command has for it."""
    found = {f"{_OVERLAY}{_KEY}": plan.disk_key} if plan.encrypted else {}
    if plan.warm and (key := plan.layer_keys.get(plan.warm.disk)):
        found[f"{_WARM}{_KEY}"] = key
    for number, layer in enumerate(plan.layers):
        if key := plan.layer_keys.get(layer.path):
            found[f"{_LAYER}{number}{_KEY}"] = key
    return found


def _secrets(pipes: Mapping[str, int]) -> Iterator[str]:
    """Each is read once from its pipe: no argument, no file."""
    for name, pipe in pipes.items():
        yield from ("-object", f"secret,id={name},format=raw,file=/proc/self/fd/{pipe}")


def below_overlay(plan: Plan) -> str:
    """The node that the session's own layer stands on; empty when it stands on none."""
    if plan.warm:
        return _WARM
    return f"{_LAYER}0" if plan.layers else ""


def _disk(plan: Plan, aio: str) -> Iterator[str]:
    """Every layer by name with its format: QEMU looks for none and follows no name in a header."""
    below: str | None = None
    for number, layer in reversed(list(enumerate(plan.layers))):
        name = f"{_LAYER}{number}"
        yield from _blockdev(**_layer(plan, name, layer_path(number), layer, below))
        below = name
    if plan.warm:
        yield from _blockdev(**_layer(plan, _WARM, WARM_DISK, Layer(plan.warm.disk, "qcow2"), below))
        below = _WARM
    # An overlay that is thrown away with the session: a flush would cost time and save nothing.
    cache = {"no-flush": not plan.lasting} | _past_cache(plan.direct_disk)
    file = _file(OVERLAY) | {"aio": aio, "discard": "unmap", "cache": cache}
    key = {"format": "luks", "key-secret": f"{_OVERLAY}{_KEY}"}
    encryption = {"encrypt": key} if plan.encrypted else {}
    yield from _blockdev(
        **{"node-name": _OVERLAY, "driver": "qcow2", "discard": "unmap", "detect-zeroes": "unmap"},
        **encryption,
        cache=cache,
        backing=below,
        file=file,
    )
    yield from _disk_device(plan.guest)


def _layer(plan: Plan, name: str, path: Path, layer: Layer, below: str | None) -> dict[str, object]:
    # Sessions on one node share these files' page cache: none of them may drop it.
    file = _file(path) | {"read-only": True, "drop-cache": False, "locking": "auto"}
    node: dict[str, object] = {"node-name": name, "driver": layer.format, "read-only": True, "file": file}
    if plan.direct_disk:
        file["cache"] = node["cache"] = _past_cache(plan.direct_disk)
    if layer.path in plan.layer_keys:
        node["file"] = {"driver": "luks", "key-secret": f"{name}{_KEY}", "read-only": True, "file": file}
    return node | ({"backing": below} if layer.format == "qcow2" else {})


def _past_cache(direct: bool) -> dict[str, bool]:
    """What lets a disk go past the node's cache, which is the others'; as it was before where that is not wanted."""
    return {"direct": True} if direct else {}


def _disk_device(guest: Guest) -> Iterator[str]:
    yield from ("-object", "iothread,id=io")
    # QEMU's default stays unsaid: a machine frozen before has the same command.
    size = guest.logical_block_size
    sectors = f",logical_block_size={size},physical_block_size={size}" if size != _SECTOR else ""
    drive = f"drive=overlay,bootindex=0,werror=enospc,rerror=report{sectors}"
    if guest.os == "windows" and guest.disk_bus in ("virtio", "scsi"):  # QEMU takes none but 512 bytes for an ide-hd
        drive += f",discard_granularity={_WINDOWS_DISCARD}"
    match guest.disk_bus:
        case "virtio":
            yield from ("-device", f"virtio-blk-pci,{drive},iothread=io")
        case "scsi":
            yield from ("-device", "virtio-scsi-pci,id=scsi,iothread=io", "-device", f"scsi-hd,bus=scsi.0,{drive}")
        case "nvme":
            yield from ("-device", f"nvme,drive=overlay,serial=7lbd,bootindex=0{sectors}")
        case _:
            yield from ("-device", f"ide-hd,bus=ide.0,{drive}")


def _cdroms(plan: Plan) -> Iterator[str]:
    """ISO files in SATA drives behind the disk's port; firmware comes to them when the disk does not boot."""
    for number in range(len(plan.cdroms)):
        file = _file(cdrom_path(number)) | {"read-only": True}
        yield from _blockdev(**{"node-name": f"cdrom{number}", "driver": "raw", "read-only": True, "file": file})
        yield from ("-device", f"ide-cd,bus=ide.{number + 1},drive=cdrom{number},bootindex={number + 1}")


def _network(plan: Plan, tap: int | None) -> Iterator[str]:
    if tap is not None:
        yield from ("-netdev", f"tap,id=net,fd={tap}")
    else:
        address, port = USER_NET_RDP
        ipv6 = "ipv6=off"
        if plan.egress and plan.egress.has_ipv6:
            ipv6 = f"ipv6-net={SUBNET_V6},ipv6-host={HOST_V6}"
        # QEMU's own DHCP serves the contract's addresses, and its "host" is this namespace's loopback.
        yield from (
            "-netdev",
            f"user,id=net,{ipv6},net={SUBNET},host={HOST},dhcpstart={GUEST},dns={NAME_SERVER},"
            f"hostfwd=tcp:{address}:{port}-{GUEST}:3389",
        )
    # No option ROM: nobody boots this machine from its network.
    model = "virtio-net-pci" if plan.guest.nic == "virtio" else "e1000e"
    yield from ("-device", f"{model},netdev=net,mac={MAC},romfile=")


def _screen(plan: Plan) -> Iterator[str]:
    yield from ("-display", "none")
    if plan.console:
        yield from ("-vnc", f"unix:{VNC},share=force-shared")
    yield from ("-device", _DISPLAYS[plan.guest.display])
    yield from ("-device", "qemu-xhci", "-device", "usb-tablet")


def _channels(fds: Descriptors, oem_strings: Sequence[Path]) -> Iterator[str]:
    yield from ("-chardev", f"socket,id=qmp,fd={fds.qmp}", "-mon", "chardev=qmp,mode=control")
    yield from ("-device", "virtio-serial-pci", "-chardev", f"socket,id=agent,fd={fds.agent}")
    yield from ("-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0")
    serial = f"socket,id=serial,fd={fds.serial},server=on,wait=off,logfile={SERIAL_LOG},logappend=on"
    yield from ("-chardev", serial, "-device", "isa-serial,chardev=serial")
    for path in oem_strings:
        yield from ("-smbios", f"type=11,path={path}")
