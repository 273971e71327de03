"""What a desktop of this session would be when it is suspended: told by the checker, because it knows the image."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from .... import __version__
from ....base.addresses import MAC
from ....base.paths import is_folder, is_there
from ....config.settings import Settings
from ....images import layout
from ....images.lookup.image import Image
from ....wire.plan import Plan, Warm
from ...saved import places
from ...saved.facts import Facts, HostCpu, MachineFacts
from ...saved.messages import LayerFile
from . import warmth
from .prepared import NO_FOLDER, NO_KEY, ON_NVME, Savable


def of(settings: Settings, environment: Mapping[str, str], image: Image, plan: Plan, login: str) -> Savable:
    """The facts but for the digests, and the files that they are of."""
    warm = plan.warm
    layers = [LayerFile(str(layer.path), layer.path.name, layer.format) for layer in image.layers]
    if warm:
        layers.insert(0, LayerFile(warm.disk, f"{layout.WARM}/{layout.DISK}", "qcow2"))
    place = places.folder(settings.state_dir, environment)
    return Savable(
        facts=Facts(
            session=plan.session,
            image=image.name or image.description.name,
            version=image.version,
            title=image.title,
            account=plan.guest.account,
            user=login,
            machine=machine(plan, image.size),
            layers=(),
            appliance=__version__,
            host=os.uname().nodename,
            desktop=secrets.token_hex(16),
        ),
        layers=tuple(layers),
        memory=_warm_memory(image, warm) if warm else None,
        folder=str(place or ""),
        hook=image.description.warm_hook,
    )


def hindrance(savable: Savable, disk_bus: str) -> str:
    """Why a desktop could not be suspended at its end, as far as that shows when it begins; empty: by nothing known."""
    if disk_bus == "nvme":
        return ON_NVME
    if not (savable.folder or savable.lock):
        return NO_KEY
    if savable.target:
        return unwritable(Path(savable.target).parent)
    if not savable.folder:
        return NO_FOLDER
    folder = Path(savable.folder)  # which is made when it is wanted
    return unwritable(next(place for place in (folder, *folder.parents) if is_there(place)))


def unwritable(folder: Path) -> str:
    """Why no file can be made there; empty if one can."""
    if not is_folder(folder):
        return f"{folder}: is no folder to write to"
    return "" if os.access(folder, os.W_OK | os.X_OK) else f"{folder}: you cannot write there"


def _warm_memory(image: Image, warm: Warm) -> LayerFile:
    sealed = warm.memory in image.keys
    return LayerFile(warm.memory, f"{layout.WARM}/{layout.WARM_MEMORY}", "raw", sealed=sealed)


def machine(plan: Plan, disk_size: int) -> MachineFacts:
    """What QEMU is told of the machine."""
    guest = plan.guest
    return MachineFacts(
        qemu=warmth.qemu_version(),
        machine=guest.machine,
        accel=plan.accel,
        cpu=plan.warm.cpu if plan.warm else guest.cpu,
        cpus=guest.cpus,
        memory=guest.memory,
        network=plan.network,
        mac=MAC,
        firmware=guest.firmware,
        tpm=guest.firmware == "uefi-secure",
        disk_bus=guest.disk_bus,
        nic=guest.nic,
        display=guest.display,
        os=guest.os,
        clock=guest.clock,
        disk_size=disk_size,
        logical_block_size=guest.logical_block_size,
        enforced=plan.warm is not None or guest.portable,
        smbios=guest.smbios and plan.warm is None,
        host=host_cpu(),
    )


def host_cpu() -> HostCpu:
    """This node's CPU (proc_cpuinfo(5))."""
    said: dict[str, str] = {}
    for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
        name, colon, value = line.partition(":")
        if not colon:
            break
        said[name.strip()] = value.strip()
    return HostCpu(said.get("vendor_id", ""), said.get("model name", ""), said.get("flags", ""))
