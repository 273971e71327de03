"""Whether a session can go on from its image's warm state, and what a new one must be made with."""

from __future__ import annotations

from pathlib import Path

from ....config.settings import Settings
from ....images import warm
from ....images.lookup.image import Image
from ....wire.forwards import Egress
from ....wire.plan import Guest, Warm
from ...job.sizing import Size

# A CPU that Windows 11 runs on (SSE4.2, POPCNT) and that any x86-64 server of the last ten years has all of.
_COMMON_CPU = "Westmere"
NOT_USED = "the image's warm state is not used, so the guest boots"
_PACKAGES = Path("/usr/share/7lbd/debian-packages.tsv")
_QEMU = "qemu-system-x86"


def chosen(
    settings: Settings, image: Image, guest: Guest, accel: str, network: str, egress: Egress | None
) -> tuple[Warm | None, str]:
    """The image's warm state if it fits, or why it does not; both empty when it has none or none is wanted."""
    if not settings.warm or image.folder is None:
        return None, ""
    try:
        state = warm.read(image.folder)
    except warm.WarmError as error:
        return None, f"{NOT_USED}: {error}"
    if state is None:
        return None, ""
    cpu = state.needs.cpu if settings.cpu_model == "auto" else settings.cpu_model
    if unlike := state.needs.differences(needs(image, guest, accel, network, cpu, egress)):
        return None, f"{NOT_USED}: {'; '.join(unlike)}"
    return _as_planned(state, image), ""


def stood_on(image: Image) -> tuple[Warm | None, str]:
    """The files that a saved desktop stands on, or why there are none.

    No machine is thawed from them, so it does not matter which QEMU they were frozen by, and for which ways out.
    """
    try:
        state = warm.read(image.folder) if image.folder else None
    except warm.WarmError as error:
        return None, f"the warm state cannot be used: {error}"
    return (_as_planned(state, image) if state else None), ""


def size(settings: Settings, image: Image) -> Size | None:
    """How large the machine was that the image's warm state was frozen from; None when there is none to use."""
    if not settings.warm or image.folder is None:
        return None
    try:
        state = warm.read(image.folder)
    except warm.WarmError:
        return None  # which `chosen` tells
    return Size(state.needs.memory, state.needs.cpus) if state else None


def _as_planned(state: warm.WarmState, image: Image) -> Warm:
    """A warm state for a plan."""
    return Warm(
        disk=str(state.disk),
        memory=str(state.memory),
        state=str(state.state),
        variables=str(state.variables or ""),
        cpu=state.needs.cpu,
        hook=image.description.warm_hook,
    )


def needs(image: Image, guest: Guest, accel: str, network: str, cpu: str, egress: Egress | None = None) -> warm.Needs:
    """What a state frozen from this machine needs."""
    return warm.Needs(
        qemu=qemu_version(),
        machine=guest.machine,
        accel=accel,
        cpu=cpu,
        cpus=guest.cpus,
        memory=guest.memory,
        network=network,
        firmware=guest.firmware,
        disk_bus=guest.disk_bus,
        nic=guest.nic,
        display=guest.display,
        layers=tuple(layer.size for layer in image.layers),
        egress=_reach(egress),
        logical_block_size=guest.logical_block_size,
        vendor=guest.vendor,
    )


def _reach(egress: Egress | None) -> str:
    """What a guest is told with its address: a frozen one asks no more."""
    if egress is None:
        return ""
    return "ipv6" if egress.has_ipv6 else "ipv4"


def cpu_model(settings: Settings, accel: str) -> str:
    """The CPU model that a new warm state is made for."""
    if settings.warm_cpu_model != "auto":
        return settings.warm_cpu_model
    return _COMMON_CPU if accel == "kvm" else "max"


def qemu_version() -> str:
    """Debian's version of the appliance's QEMU."""
    for line in _PACKAGES.read_text().splitlines():
        name, _, version = line.partition("\t")
        if name == _QEMU:
            return version
    return ""
