"""The machine that a session gets: what the image asks for, as far as this node gives it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ....base.errors import ExitCode, Refusal
from ....config.settings import Accel, Network, Settings
from ....images.description import OS, Channel, Clock, Description, DisplayDevice
from ....images.lookup.image import Image
from ....wire.forwards import Egress
from ....wire.plan import Guest, Warm
from ...job import sizing
from ...job.sizing import Size, Sizing
from ...node import abilities
from ...node.abilities import Ability
from . import warmth
from .remarks import Remarks


@dataclass(frozen=True)
class Platform:
    """By what this node lets a machine run: `accel` is kvm or tcg, `network` is tap or user."""

    accel: str
    network: str


def platform(settings: Settings, remarks: Remarks, as_saved: AsSaved | None = None) -> Platform:
    """What is wanted, or what there is. Raises Refusal when that is not what the settings insist on."""
    accel = _accel(settings, remarks, as_saved)
    return Platform(accel, _network(settings, remarks))


def _accel(settings: Settings, remarks: Remarks, as_saved: AsSaved | None) -> str:
    if settings.accel is Accel.TCG:
        why = "the desktop was suspended in software emulation" if as_saved else "software emulation was asked for"
        remarks.warnings.append(f"{why}: it will be 10 to 20 times slower than with KVM")
        return "tcg"
    kvm = abilities.kvm()
    if kvm.ok:
        return "kvm"
    if settings.accel is Accel.KVM:
        raise Refusal(ExitCode.NODE, f"accel = kvm, but KVM is not usable: {kvm.why}", hint=kvm.mend)
    remarks.warnings.append(
        "NO KVM: this desktop runs in software emulation, 10 to 20 times slower than it could. "
        f"Another node may do better; whoever runs this one learns from `7lbd doctor` what it lacks ({kvm.why})"
        f"{_if_hidden(kvm)}"
    )
    return "tcg"


def _network(settings: Settings, remarks: Remarks) -> str:
    if settings.network is Network.USER:
        return "user"
    tun = abilities.tun()
    if tun.ok:
        return "tap"
    if settings.network is Network.TAP:
        raise Refusal(ExitCode.NODE, f"network = tap, but {tun.why}", hint=tun.mend)
    remarks.warnings.append(
        "No tap device: files on the shares are slower than they could be. Whoever runs this node learns from "
        f"`7lbd doctor` what it lacks ({tun.why}){_if_hidden(tun)}"
    )
    return "user"


def _if_hidden(ability: Ability) -> str:
    """For who has only hidden it from himself."""
    return f". If you start with --contain, say: {ability.shown_by}" if ability.shown_by else ""


@dataclass(frozen=True)
class AsSaved:
    """What a desktop that goes on has of the machine that it was, and neither settings nor image say."""

    machine: str
    """QEMU's machine type."""
    warm: bool
    """Whether it stands on the image's warm state."""


def machine(
    settings: Settings,
    image: Image,
    platform: Platform,
    egress: Egress | None,
    size: Sizing,
    remarks: Remarks,
    as_saved: AsSaved | None = None,
) -> tuple[Guest, Warm | None]:
    """The machine, and the warm state that it goes on from, if that fits. Raises Refusal."""
    accel, network = platform.accel, platform.network
    if as_saved:
        guest = _guest(settings, image, accel, size.chosen(remarks.warnings, remarks.notes))
        warm, no_warm = warmth.stood_on(image) if as_saved.warm else (None, "")
        remarks.warnings.extend([no_warm] if no_warm else [])
        return replace(guest, machine=as_saved.machine), warm
    sizing.check_boots(settings.memory, image.description)
    frozen = warmth.size(settings, image)
    if frozen and (like := size.like_frozen(frozen)):
        guest = _guest(settings, image, accel, like)
        warm, _ = warmth.chosen(settings, image, guest, accel, network, egress)
        if warm:
            remarks.notes.extend(size.note_of_frozen(frozen))
            return guest, warm
    guest = _guest(settings, image, accel, size.chosen(remarks.warnings, remarks.notes))
    warm, no_warm = warmth.chosen(settings, image, guest, accel, network, egress)
    remarks.warnings.extend([no_warm] if no_warm else [])
    return guest, warm


def _guest(settings: Settings, image: Image, accel: str, size: Size) -> Guest:
    """The machine that the image asks for, as far as this node gives it. Raises Refusal."""
    described = image.description
    return Guest(
        os=described.os.value,
        firmware=described.firmware.value,
        disk_bus=described.disk_bus.value,
        nic=described.nic.value,
        display=_display(described),
        machine=described.machine,
        cpu=_cpu(settings, accel),
        portable=settings.movable and settings.cpu_model == "auto",
        cpus=size.cpus,
        memory=size.memory,
        agent=Channel.AGENT in described.channels,
        smbios=Channel.SMBIOS in described.channels,
        account=described.user,
        variables=str(image.variables or ""),
        logical_block_size=described.logical_block_size,
        clock=_clock(described).value,
        vendor=abilities.cpu_vendor() if accel == "kvm" else "",
    )


def _clock(described: Description) -> Clock:
    if described.clock is not Clock.AUTO:
        return described.clock
    return Clock.LOCAL if described.os is OS.WINDOWS else Clock.UTC


def _cpu(settings: Settings, accel: str) -> str:
    if settings.cpu_model != "auto":
        return settings.cpu_model
    if settings.movable:
        return warmth.cpu_model(settings, accel)
    return "host" if accel == "kvm" else "max"


def _display(described: Description) -> str:
    if described.display is not DisplayDevice.AUTO:
        return described.display.value
    return (DisplayDevice.STD if described.os is OS.WINDOWS else DisplayDevice.VIRTIO).value
