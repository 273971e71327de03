"""Everything about a session is checked here, before the first side effect; the result is a plan."""

from __future__ import annotations

import os
import pwd
import re
import secrets
import string
from collections.abc import Mapping
from pathlib import Path

from ..addresses import HOST
from ..errors import ExitCode, Refusal
from ..images import image as images
from ..images.description import OS, Channel, Description, Display
from ..images.image import Image
from ..images.shelf import lookup
from ..messages import Egress, Guest, Layer, Plan, Share, Warm
from ..paths import user_path
from ..settings import Accel, Network, Settings
from . import connectors, folder, node, places, sizing, warmth
from .cluster import allocation, register
from .cluster.allocation import Allocation
from .egress.allowed import Allowed
from .prepared import Prepared, Wishes
from .sizing import Size, Sizing, gib

_PASSWORD_LENGTH = 24  # of 62 characters: 142 bits
_SHARE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
_RESERVED_SHARES = {"global", "homes", "printers", "ipc"}
_FASTEST_MEGABITS = 30_000
_NOT_FOR_SHARING = ("/proc", "/dev", "/sys", "/run/7lbd")


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
    image = images.resolve(settings.image, folders, places.image_cache(settings))
    seen = {str(layer.path): layer.identity for layer in image.layers}
    if settings.require_signed:
        from . import trust  # costs time, so only where it is wanted

        image, seen = trust.checked(settings, image, environment)
    described = image.description
    ways = connectors.check(settings, clipboard=described.clipboard, screen=described.screen)
    accel = _accel(settings, warnings)
    network = _network(settings, warnings)
    where = folder.base(settings.session_dir, environment)
    _warn_of_hidden_tmpdir(settings, environment, warnings)
    name = settings.name or (job.name(where) if job else folder.new_name())
    folder.check_base(where)
    folder.check_name(where, name)
    _check_space(where, settings.min_space)
    egress = _egress(settings, described, name, warnings)
    inside = egress.inside(HOST) if egress else None
    size = sizing.decided_by(settings, described, environment, job)
    guest, warm = _machine(settings, image, accel, network, inside, size, warnings, notes)
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
        shares=_shares(settings, environment),
        guest_access=described.guest_access,
        wide_links=settings.wide_links,
        ready_timeout=settings.ready_timeout,
        connectors=(),
        console=ways.console,
        web_tls=ways.web_tls,
        warm=warm,
        egress=inside,
        network_rate=_network_rate(settings.network_rate),
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
        wishes=Wishes(
            time_limit=settings.time_limit,
            stop_grace=settings.stop_grace,
            exit_when_ready=settings.exit_when_ready,
            end_notice=settings.end_notice,
            signal_lead=settings.signal_lead,
        ),
        warnings=tuple(warnings),
        notes=tuple(notes),
        seen=seen,
        lease=lookup.owner(image.folder or image.layers[0].path.parent),
        word=register.targets(settings, environment, name),
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
    )


def _display(described: Description) -> str:
    if described.display is not Display.AUTO:
        return described.display.value
    return (Display.STD if described.os is OS.WINDOWS else Display.VIRTIO).value


def new_password() -> str:
    """24 random letters and digits, with one of each kind that Windows' complexity rule asks for."""
    letters = string.ascii_letters + string.digits
    while True:
        word = "".join(secrets.choice(letters) for _ in range(_PASSWORD_LENGTH))
        if all(set(word) & set(kind) for kind in (string.ascii_lowercase, string.ascii_uppercase, string.digits)):
            return word


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


def _warn_of_hidden_tmpdir(settings: Settings, environment: Mapping[str, str], warnings: list[str]) -> None:
    wanted = environment.get("TMPDIR", "")
    if wanted and not settings.session_dir and not Path(wanted).is_dir():
        warnings.append(
            f"TMPDIR={wanted} is not visible in the container, so /tmp is used: apptainer run --bind {wanted} ..."
        )


def _accel(settings: Settings, warnings: list[str]) -> str:
    if settings.accel is Accel.TCG:
        warnings.append("software emulation was asked for: the desktop will be 10 to 20 times slower than with KVM")
        return "tcg"
    kvm = node.kvm()
    if kvm.ok:
        return "kvm"
    if settings.accel is Accel.KVM:
        raise Refusal(ExitCode.NODE, f"accel = kvm, but KVM is not usable: {kvm.why}", hint=kvm.mend)
    warnings.append(f"NO KVM: {kvm.why}. Software emulation instead, 10 to 20 times slower. To mend: {kvm.mend}")
    return "tcg"


def _network(settings: Settings, warnings: list[str]) -> str:
    if settings.network is Network.USER:
        return "user"
    tun = node.tun()
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
    from .egress import decide  # asks name servers, so only where it is wanted

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
    free = node.free_space(where)
    if free < least:
        raise Refusal(
            ExitCode.RESOURCES,
            f"{where}: {gib(free)} are free for what the guest writes, and {gib(least)} are the least",
            hint="choose another place (--session-dir DIR), make room, or lower --min-space",
        )


def _shares(settings: Settings, environment: Mapping[str, str]) -> tuple[Share, ...]:
    shares = [home(environment)] if settings.home_share else []
    for text in settings.shares:
        share = _parse_share(text)
        if share.name.lower() in {known.name.lower() for known in shares}:
            raise Refusal(ExitCode.SHARE, f"the share `{share.name}` is given twice", hint="give each its own name")
        shares.append(share)
    return tuple(shares)


def home(environment: Mapping[str, str]) -> Share:
    """The user's home as a share. Raises Refusal when it cannot be one."""
    home = environment.get("HOME", "")
    if not home:
        try:
            home = pwd.getpwuid(os.getuid()).pw_dir
        except KeyError:
            raise Refusal(
                ExitCode.SHARE, "HOME is not set and you have no passwd entry", hint="set HOME, or use --no-home-share"
            ) from None
    return _checked(Share("home", home, read_only=False), "use --no-home-share to do without")


def _parse_share(text: str) -> Share:
    name, equals, path = text.partition("=")
    read_only = path.endswith(":ro")
    path = path.removesuffix(":ro").removesuffix(":rw")
    if not equals or not path or not _SHARE_NAME.fullmatch(name) or name.lower() in _RESERVED_SHARES:
        raise Refusal(
            ExitCode.SHARE,
            f"share `{text}`: is not NAME=PATH or NAME=PATH:ro",
            hint="NAME has up to 32 letters, digits, _ and -; for instance --share data=/scratch/data:ro",
        )
    return _checked(Share(name, path, read_only), "see what the container shows: apptainer exec 7lbd.sif ls -ld ...")


def _would_be_misread(path: str) -> bool:
    return path != path.strip() or path.endswith("\\") or any(c == "%" or not c.isprintable() for c in path)


def _checked(share: Share, hint: str) -> Share:
    """The share with its real path, or a Refusal."""
    path = user_path(share.path)
    if _would_be_misread(share.path) or _would_be_misread(str(path.resolve())):
        raise Refusal(
            ExitCode.SHARE,
            f"share `{share.name}`: {share.path!r} has a `%`, a control character, or a space or backslash at its end, "
            "which Samba's configuration cannot hold",
            hint="show it under another name: apptainer run --bind 'PATH:/mnt/NAME' ... --share NAME=/mnt/NAME",
        )
    if any(path.resolve().is_relative_to(place) for place in _NOT_FOR_SHARING) or path.resolve() == Path("/"):
        what = f"share `{share.name}`: {path} belongs to the system, not to you"
        raise Refusal(ExitCode.SHARE, what, hint="share a folder with files of yours")
    if not os.access(path, os.F_OK):
        hint = f"a folder that the container does not show is added with: apptainer run --bind {path} ...; or {hint}"
        raise Refusal(ExitCode.SHARE, f"share `{share.name}`: {path} does not exist here", hint=hint)
    if not path.is_dir():
        raise Refusal(ExitCode.SHARE, f"share `{share.name}`: {path} is not a folder", hint=hint)
    if not os.access(path, os.R_OK | os.X_OK):
        raise Refusal(ExitCode.SHARE, f"share `{share.name}`: {path} is not readable for you", hint=hint)
    return Share(share.name, str(path.resolve()), share.read_only)
