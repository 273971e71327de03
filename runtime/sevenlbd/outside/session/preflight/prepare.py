"""Everything about a session is checked here, before the first side effect; the result is a plan."""

from __future__ import annotations

import hashlib
import os
import pwd
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from ....base.addresses import HOST
from ....base.errors import ExitCode, Refusal
from ....config import sources
from ....config.settings import Settings
from ....images import evaluation, layout
from ....images.description import Description
from ....images.image_lock import Identity
from ....images.lookup import image as images
from ....images.lookup import repositories
from ....images.lookup.image import Image
from ....wire.forwards import Egress
from ....wire.plan import Guest, Layer, Plan, Share, Warm
from ...access import connectors
from ...access.connectors import Connectors
from ...access.credentials import account_name, new_password
from ...egress.relay.allowed import Allowed
from ...folders import bases, session_folders, shares
from ...job import allocation, leads, sizing
from ...job.allocation import Allocation
from ...job.sizing import gib
from ...node import abilities, rlimits
from ...presence import records
from ...project.joined import JoinedProject
from ...saved import estimate, places
from . import at_rest, giving_way, guest_machine, private_places, savable, timezones
from .guest_machine import AsSaved, Platform
from .prepared import Prepared, SessionOptions, WorkerImage
from .remarks import Remarks

_OFTENEST = 10  # seconds; what is saved of a small guest takes some of them
_FASTEST_MEGABITS = 30_000  # <linux/pkt_sched.h>, struct tc_ratespec: 32 bits of bytes a second


@dataclass(frozen=True)
class _Checked:
    """What the checks came to, all that a plan is made of."""

    image: Image
    identities: dict[str, Identity]
    connectors: Connectors
    platform: Platform
    where: Path
    name: str
    egress: Allowed | None
    inside: Egress | None
    project: JoinedProject | None
    shares: tuple[Share, ...]
    guest: Guest
    warm: Warm | None
    direct_disk: bool
    timezone_command: tuple[str, ...]


def prepare(
    settings: Settings,
    environment: Mapping[str, str],
    umask: int,
    folders: list[Path],
    job: Allocation | None = None,
    as_saved: AsSaved | None = None,
) -> Prepared:
    """Check all of `settings` against this node. Raises Refusal; leaves no trace.

    With a `job` the guest gets all that the job has, unless the settings say how much; with `as_saved` it is a machine
    that goes on.
    """
    remarks = Remarks(warnings=allocation.warnings(job) if job else [])
    checked = _checked(settings, environment, folders, job, remarks, as_saved)
    image, login = checked.image, _user_name()
    plan = _plan(settings, environment, umask, checked)
    return Prepared(
        login=login,
        plan=plan,
        image_title=image.title,
        disk_size=image.size,
        where=checked.where,
        connectors=checked.connectors,
        job=job,
        egress=_orders(settings, checked),
        project_keys=checked.project.files if checked.project else None,
        options=_options(settings, environment, image.description, checked.guest.memory, job.vacate if job else 0.0),
        warnings=tuple(remarks.warnings),
        notes=tuple(remarks.notes),
        identities=checked.identities,
        warm_keys=at_rest.warm_keys(image, checked.warm),
        warm_state_size=at_rest.warm_state_size(image, checked.warm),
        lease=repositories.owner(image.folder or image.layers[0].path.parent),
        presence=records.targets(settings, environment, checked.name),
        savable=savable.of(settings, environment, image, plan, login),
        title=image.description.title,
        exec_hook=image.description.exec_hook if checked.guest.agent else (),
        worker=_worker(image) if checked.guest.agent else None,
        exec_desktop=image.description.exec_desktop,
        background=giving_way.sentence(settings, image.description),
    )


def _checked(
    settings: Settings,
    environment: Mapping[str, str],
    folders: list[Path],
    job: Allocation | None,
    remarks: Remarks,
    as_saved: AsSaved | None,
) -> _Checked:
    """All checks, the one that is understood without the others first. Raises Refusal."""
    _refuse_root()
    image, identities = _image(settings, environment, folders)
    described = image.description
    if not described.desktop:
        settings = _without_desktop(settings)
    if described.last_day and (told := evaluation.warning(described.last_day, date.today())):
        remarks.warnings.append(told)
    ways = connectors.check(settings, clipboard=described.clipboard, screen=described.screen)
    platform = guest_machine.platform(settings, remarks, as_saved)
    where, name = _place(settings, environment, job, remarks)
    egress = _egress(settings, described, name, remarks)
    size = sizing.decided_by(settings, described, environment, job, platform.accel)
    shared = shares.all_of(settings, environment)
    project = _project(settings, environment, platform.network, shared)
    inside = _inside(egress, project)
    guest, warm = guest_machine.machine(settings, image, platform, inside, size, remarks, as_saved)
    giving_way.check(settings, guest.memory)
    at_rest.check(settings, image.keys, remarks)
    remarks.notes.extend(filter(None, [giving_way.sentence(settings, described)]))
    is_direct = giving_way.is_direct(settings, where, [layer.path for layer in image.layers], remarks)
    zone = timezones.command(settings, environment, described, remarks)
    rlimits.check_file_size(image.size, settings.min_space, remarks.warnings)
    rlimits.check_processes(guest.cpus)
    return _Checked(
        image, identities, ways, platform, where, name, egress, inside, project, shared, guest, warm, is_direct, zone
    )


def _without_desktop(settings: Settings) -> Settings:
    """Nobody comes for what is not there."""
    closed = {"web": "off", "web_certificate": "", "web_key": "", "rdp_tls": "", "console": False}
    return settings.model_copy(update=closed)


def _worker(image: Image) -> WorkerImage | None:
    """How it joins a pool; None of an image that cannot."""
    described = image.description
    if not described.join_hook:
        return None
    digest = ""
    if image.folder:
        with suppress(OSError):
            digest = hashlib.sha256((image.folder / layout.MANIFEST).read_bytes()).hexdigest()
    return WorkerImage(described.join_hook, described.join_status, digest)


def _image(
    settings: Settings, environment: Mapping[str, str], folders: list[Path]
) -> tuple[Image, dict[str, Identity]]:
    """The image, and its files as they were when they were checked. Raises Refusal."""
    image = images.resolve(settings.image, folders, sources.image_cache(settings))
    image, key = at_rest.opened(image, settings, environment)
    if settings.require_signed or settings.signed_by:
        from . import trust  # costs time, so only where it is wanted

        return trust.checked(settings, image, environment, key)
    return image, {str(layer.path): layer.identity for layer in image.layers}


def _plan(settings: Settings, environment: Mapping[str, str], umask: int, checked: _Checked) -> Plan:
    """The plan for the keeper, without what is only made when the session begins. Raises Refusal."""
    described, guest = checked.image.description, checked.guest
    return Plan(
        session=checked.name,
        folder=str(checked.where / checked.name),
        uid=os.getuid(),
        gid=os.getgid(),
        user=account_name(_user_name()),
        password=new_password(),
        umask=umask & ~0o700,  # the user's own access to the files that the guest makes is never masked
        accel=checked.platform.accel,
        network=checked.platform.network,
        layers=tuple(Layer(str(layer.path), layer.format) for layer in checked.image.layers),
        guest=guest,
        shares=checked.shares,
        guest_access=described.guest_access,
        wide_links=settings.wide_links,
        ready_timeout=settings.ready_timeout,
        connectors=(),
        console=checked.connectors.console,
        web_tls=checked.connectors.web_tls,
        warm=checked.warm,
        timezone_command=checked.timezone_command,
        egress=checked.inside,
        project=checked.project.project if checked.project else None,
        network_rate=_network_rate(settings.network_rate),
        protect_dot_files=settings.protect_dot_files,
        background=settings.background,
        direct_disk=checked.direct_disk,
        disk_key=at_rest.disk_key(settings, checked.image.keys),
        layer_keys=at_rest.layer_keys(checked.image, checked.warm),
        hidden=private_places.hidden(settings, environment, checked.shares),
        notice_hook=described.notice_hook if guest.agent else (),
        suspend_hook=described.suspend_hook if guest.agent else (),
        headless=not described.desktop,
    )


def _place(
    settings: Settings, environment: Mapping[str, str], job: Allocation | None, remarks: Remarks
) -> tuple[Path, str]:
    """Where the session's folder goes, and its name. Raises Refusal."""
    where = bases.base(settings.session_dir, environment)
    remarks.warnings.extend(bases.hidden(environment) if not settings.session_dir else [])
    name = settings.name or (job.name(where) if job else session_folders.new_name())
    bases.check_base(where)
    session_folders.check_name(where, name)
    _check_space(where, settings.min_space)
    return where, name


def _options(
    settings: Settings, environment: Mapping[str, str], described: Description, memory: int, vacate: float
) -> SessionOptions:
    if not 0 < settings.suspended_exit_code < 256:
        what = f"`suspended_exit_code` = {settings.suspended_exit_code}: an exit code is between 1 and 255"
        raise Refusal(ExitCode.USAGE, what, hint="--suspended-exit-code 85")
    suspends = leads.suspends(settings, described)
    folder = places.folder(settings.state_dir, environment)
    return SessionOptions(
        suspend_seconds=estimate.seconds(memory, folder) if suspends else 0.0,
        suspended_code=settings.suspended_exit_code,
        least_memory=settings.background_memory if settings.background else 0,
        checkpoint_every=_checkpoints(settings),
        time_limit=settings.time_limit,
        stop_grace=settings.stop_grace,
        evict_seconds=max(vacate - settings.stop_grace - leads.AFTER_GUEST_SECONDS, 0.0),
        exit_when_ready=settings.exit_when_ready,
        end_notice=settings.end_notice,
        signal_lead=settings.signal_lead,
    )


def _checkpoints(settings: Settings) -> float:
    """Seconds. Raises Refusal for what would leave a desktop no time of its own."""
    if 0 < settings.checkpoint_every < _OFTENEST:
        what = f"`checkpoint_every` = {settings.checkpoint_every:.0f} s: a desktop is saved every {_OFTENEST} s at most"
        raise Refusal(ExitCode.USAGE, what, hint="--checkpoint-every 30m")
    return settings.checkpoint_every


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


def _egress(settings: Settings, described: Description, session: str, remarks: Remarks) -> Allowed | None:
    """The ways out, each host found. Raises Refusal for what the site cannot have meant."""
    if not settings.egress_allow:
        return None
    from ...egress.policy import decide  # asks name servers, so only where it is wanted

    decision = decide.decide(settings, described.egress, session)
    remarks.warnings.extend(decision.notes)
    return decision.allowed


def _project(
    settings: Settings, environment: Mapping[str, str], network: str, shared: tuple[Share, ...]
) -> JoinedProject | None:
    """The project's network that is joined. Raises Refusal."""
    if not settings.project:
        return None
    from ...project import joining  # reads the site's file again, so only where it is wanted

    return joining.decide(settings, environment, network, shared)


def _inside(egress: Allowed | None, project: JoinedProject | None) -> Egress | None:
    """What the guest is told: names and a route, for a project's network as for ways out."""
    ours = egress.inside(HOST) if egress else None
    if project is None:
        return ours
    return Egress(ours.doors if ours else (), (*(ours.names if ours else ()), *project.project.hosts))


def _orders(settings: Settings, checked: _Checked) -> Allowed | None:
    """What the relay may connect to: the guest's ways out, and the server of the session's own client."""
    if checked.project is None:
        return checked.egress
    idle = Allowed(rate=settings.egress_rate, idle=settings.egress_idle)
    return replace(checked.egress or idle, project=checked.project.server)


def _network_rate(megabits: int) -> int:
    """Bits a second."""
    if not 0 <= megabits <= _FASTEST_MEGABITS:
        what = f"`network_rate` = {megabits}: a link's rate is between 1 and {_FASTEST_MEGABITS} Mbit/s, 0 is no limit"
        raise Refusal(ExitCode.USAGE, what, hint="--network-rate 100")
    return megabits * 1_000_000


def _check_space(where: Path, least: int) -> None:
    free = abilities.free_space(where)
    if free < least:
        raise Refusal(
            ExitCode.RESOURCES,
            f"{where}: {gib(free)} are free for what the guest writes, and {gib(least)} are the least",
            hint="choose another place (--session-dir DIR), make room, or lower --min-space",
        )
