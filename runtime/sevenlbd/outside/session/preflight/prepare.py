"""Everything about a session is checked here, before the first side effect; the result is a plan."""

from __future__ import annotations

import os
import pwd
import re
import secrets
import string
from collections.abc import Mapping
from pathlib import Path

from ....base.addresses import HOST
from ....base.errors import ExitCode, Refusal
from ....config import sources
from ....config.settings import Accel, Network, Settings
from ....images.description import OS, Channel, Description, DisplayDevice
from ....images.lookup import image as images
from ....images.lookup import repositories
from ....images.lookup.image import Image
from ....wire.messages import Egress, Guest, Layer, Plan, Warm
from ...access import connectors
from ...egress.relay.allowed import Allowed
from ...folders import bases, session_folders, shares
from ...job import allocation, sizing
from ...job.allocation import Allocation
from ...job.sizing import Size, Sizing, gib
from ...node import abilities, rlimits
from ...presence import records
from . import private_places, warmth
from .prepared import Prepared, SessionOptions

_PASSWORD_LENGTH = 24  # of 62 characters: 142 bits
_FASTEST_MEGABITS = 30_000


def prepare(
    settings: Settings,
    environment: Mapping[str, str],
    umask: int,
    folders: list[Path],
    job: Allocation | None = None,
) -> Prepared:
    """Check all of `settings` against this node. Raises Refusal; leaves no trace.

    With a `job` the guest gets all that the job has, unless the settings say how much.
    """
    warnings: list[str] = allocation.warnings(job) if job else []
    notes: list[str] = []
    _refuse_root()
    image = images.resolve(settings.image, folders, sources.image_cache(settings))
    identities = {str(layer.path): layer.identity for layer in image.layers}
    if settings.require_signed:
        from . import trust  # costs time, so only where it is wanted

        image, identities = trust.checked(settings, image, environment)
    described = image.description
    ways = connectors.check(settings, clipboard=described.clipboard, screen=described.screen)
    accel = _accel(settings, warnings)
    network = _network(settings, warnings)
    where, name = _place(settings, environment, job, warnings)
    egress = _egress(settings, described, name, warnings)
    inside = egress.inside(HOST) if egress else None
    size = sizing.decided_by(settings, described, environment, job, accel)
    shared = shares.all_of(settings, environment)
    guest, warm = _machine(settings, image, accel, network, inside, size, warnings, notes)
    rlimits.check_file_size(image.size, settings.min_space, warnings)
    rlimits.check_processes(guest.cpus)
    plan = Plan(
        session=name,
        folder=str(where / name),
        uid=os.getuid(),
        gid=os.getgid(),
        user=account_name(_user_name()),
        password=new_password(),
        umask=umask & ~0o700,  # the user's own access to the files that the guest makes is never masked
        accel=accel,
        network=network,
        layers=tuple(Layer(str(layer.path), layer.format) for layer in image.layers),
        guest=guest,
        shares=shared,
        guest_access=described.guest_access,
        wide_links=settings.wide_links,
        ready_timeout=settings.ready_timeout,
        connectors=(),
        console=ways.console,
        web_tls=ways.web_tls,
        warm=warm,
        egress=inside,
        network_rate=_network_rate(settings.network_rate),
        protect_dot_files=settings.protect_dot_files,
        hidden=private_places.hidden(settings, environment, shared),
        notice_hook=described.notice_hook if guest.agent else (),
    )
    return Prepared(
        login=_user_name(),
        plan=plan,
        image_title=image.title,
        disk_size=image.size,
        where=where,
        connectors=ways,
        job=job,
        egress=egress,
        options=_options(settings),
        warnings=tuple(warnings),
        notes=tuple(notes),
        identities=identities,
        lease=repositories.owner(image.folder or image.layers[0].path.parent),
        presence=records.targets(settings, environment, name),
    )


def _place(
    settings: Settings, environment: Mapping[str, str], job: Allocation | None, warnings: list[str]
) -> tuple[Path, str]:
    """Where the session's folder goes, and its name. Raises Refusal."""
    where = bases.base(settings.session_dir, environment)
    warnings += bases.hidden(environment) if not settings.session_dir else []
    name = settings.name or (job.name(where) if job else session_folders.new_name())
    bases.check_base(where)
    session_folders.check_name(where, name)
    _check_space(where, settings.min_space)
    return where, name


def _options(settings: Settings) -> SessionOptions:
    return SessionOptions(
        time_limit=settings.time_limit,
        stop_grace=settings.stop_grace,
        exit_when_ready=settings.exit_when_ready,
        end_notice=settings.end_notice,
        signal_lead=settings.signal_lead,
    )


def _machine(
    settings: Settings,
    image: Image,
    accel: str,
    network: str,
    egress: Egress | None,
    size: Sizing,
    warnings: list[str],
    notes: list[str],
) -> tuple[Guest, Warm | None]:
    """The machine, and the warm state that it goes on from, if that fits. Raises Refusal."""
    frozen = warmth.size(settings, image)
    if frozen and (like := size.like_frozen(frozen)):
        guest = _guest(settings, image, accel, like)
        warm, _ = warmth.chosen(settings, image, guest, accel, network, egress)
        if warm:
            notes += size.note_of_frozen(frozen)
            return guest, warm
    guest = _guest(settings, image, accel, size.chosen(warnings, notes))
    warm, no_warm = warmth.chosen(settings, image, guest, accel, network, egress)
    warnings += [no_warm] if no_warm else []
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
        cpus=size.cpus,
        memory=size.memory,
        agent=Channel.AGENT in described.channels,
        smbios=Channel.SMBIOS in described.channels,
        account=described.user,
        variables=str(image.variables or ""),
        logical_block_size=described.logical_block_size,
    )


def _display(described: Description) -> str:
    if described.display is not DisplayDevice.AUTO:
        return described.display.value
    return (DisplayDevice.STD if described.os is OS.WINDOWS else DisplayDevice.VIRTIO).value


def new_password() -> str:
    """24 random letters and digits, with one of each kind that Windows' complexity rule asks for."""
    letters = string.ascii_letters + string.digits
    while True:
        presence = "".join(secrets.choice(letters) for _ in range(_PASSWORD_LENGTH))
        if all(set(presence) & set(kind) for kind in (string.ascii_lowercase, string.ascii_uppercase, string.digits)):
            return presence


def account_name(user: str) -> str:
    """A user's name as SMB and Windows take it: `DOM\\user.name@x` becomes `user.name`."""
    plain = user.rsplit("\\", 1)[-1].split("@", 1)[0]
    return re.sub(r"[^A-Za-z0-9._-]", "_", plain).strip(".-")[:20] or "user"


def _user_name() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid{os.getuid()}"


def _refuse_root() -> None:
    if os.getuid() == 0:
        raise Refusal(
            ExitCode.NODE,
            "a session runs as the user whose files it serves, never as root",
            hint="run it as an ordinary user, without sudo and without --fakeroot",
        )


def _accel(settings: Settings, warnings: list[str]) -> str:
    if settings.accel is Accel.TCG:
        warnings.append("software emulation was asked for: the desktop will be 10 to 20 times slower than with KVM")
        return "tcg"
    kvm = abilities.kvm()
    if kvm.ok:
        return "kvm"
    if settings.accel is Accel.KVM:
        raise Refusal(ExitCode.NODE, f"accel = kvm, but KVM is not usable: {kvm.why}", hint=kvm.mend)
    warnings.append(f"NO KVM: {kvm.why}. Software emulation instead, 10 to 20 times slower. To mend: {kvm.mend}")
    return "tcg"


def _network(settings: Settings, warnings: list[str]) -> str:
    if settings.network is Network.USER:
        return "user"
    tun = abilities.tun()
    if tun.ok:
        return "tap"
    if settings.network is Network.TAP:
        raise Refusal(ExitCode.NODE, f"network = tap, but {tun.why}", hint=tun.mend)
    warnings.append(f"No tap device: {tun.why}. QEMU's user-mode network instead, which is slower. To mend: {tun.mend}")
    return "user"


def _egress(settings: Settings, described: Description, session: str, warnings: list[str]) -> Allowed | None:
    """The ways out, each host found. Raises Refusal for what the site cannot have meant."""
    if not settings.egress_allow:
        return None
    from ...egress.policy import decide  # asks name servers, so only where it is wanted

    decision = decide.decide(settings, described.egress, session)
    warnings += decision.notes
    return decision.allowed


def _network_rate(megabits: int) -> int:
    """Bits a second."""
    if not 0 <= megabits <= _FASTEST_MEGABITS:
        what = f"`network_rate` = {megabits}: a link's rate is between 1 and {_FASTEST_MEGABITS} Mbit/s, 0 is no limit"
        raise Refusal(ExitCode.USAGE, what, hint="--network-rate 100")
    return megabits * 1_000_000


def _cpu(settings: Settings, accel: str) -> str:
    if settings.cpu_model != "auto":
        return settings.cpu_model
    return "host" if accel == "kvm" else "max"


def _check_space(where: Path, least: int) -> None:
    free = abilities.free_space(where)
    if free < least:
        raise Refusal(
            ExitCode.RESOURCES,
            f"{where}: {gib(free)} are free for what the guest writes, and {gib(least)} are the least",
            hint="choose another place (--session-dir DIR), make room, or lower --min-space",
        )
