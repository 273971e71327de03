"""Warm states: a machine frozen just before anybody uses it, as a part of its image."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from ...base import foreign_files
from ...base.errors import ExitCode, Refusal
from ...images import description, layout, names, warm
from ...images.description import Channel, DiskBus
from ...images.lookup import image as images
from ...images.lookup import repositories
from ...images.lookup.image import Image
from ...images.names import Reference
from ...images.repository import exclusive, leftovers
from ...images.repository.versions import Repository
from ...images.signing import manifest
from ...wire import shared_files
from ...wire.state import SessionState
from ..cli.command import Command, CommandContext
from ..cli.parser import Parser, options
from ..console import display, terminal
from ..folders import session_folders
from ..session import overlay_disk
from ..session.preflight import prepare, timezones, warmth
from ..session.preflight.prepared import Prepared, without_project
from . import image_session, installation

# The devices of a machine with every kind that we give it have about a megabyte, and the largest screen 64.
_MOST_DEVICES = 1 << 30
_SETTINGS = ("memory", "cpus", "warm_cpu_model", "accel", "network", "session_dir", "ready_timeout", "min_space")


def make_warm(context: CommandContext) -> int:
    """Freeze a machine of the image and add it to the version, or make a new version with it."""
    image = images.resolve(context.options.image, context.folders)
    where = _folder(image)
    prepared, needs = _prepared(context, image, where)
    if context.options.if_needed and _fits(where, needs):
        terminal.say(f"7lbd: {image.title} has a warm state that fits")
        return ExitCode.OK
    repository = _repository(image, context.options.as_version) if context.options.as_version else None
    if repository is None:
        _check_place(where, image.title, again=context.options.again or context.options.if_needed)
    with _staging(where) as fresh:
        if code := _freeze(context, prepared, fresh, needs):
            return code
        title = image.title if repository is None else f"{where.parent.name}@{context.options.as_version}"
        made = _described(fresh, title, needs)
        if repository:
            _copy_version(repository, image, context.options.as_version, fresh)
        else:
            _put_in_place(fresh, where)
    terminal.say_text(made)
    return ExitCode.OK


def _repository(image: Image, version: str) -> Repository:
    """Where a new version of the image will be. Raises Refusal when there cannot be one of this name."""
    owner = repositories.owner(image.folder) if image.folder else None
    if owner is None:
        what = f"{image.title}: is not a version in a repository, so there can be no other version of it"
        raise Refusal(ExitCode.IMAGE, what, hint="7lbd image add DISK --name NAME --version VERSION")
    names.check_version(version)
    repository = Repository(owner[0])
    if repository.has(Reference(owner[1].name, version)):
        what = f"{owner[1].name}@{version} exists already, and a version is never changed"
        raise Refusal(ExitCode.IMAGE, what, hint="choose another: --as VERSION")
    return repository


def _copy_version(repository: Repository, image: Image, version: str, fresh: Path) -> None:
    """A copy of the version with another warm state: the only way to one for a version that is signed, or in use."""
    assert image.folder
    name = image.folder.parent.name
    with repository.staged(name, version) as staging:
        try:
            for part in manifest.files(image.folder):
                if not part.startswith(f"{layout.WARM}/") and part != layout.DESCRIPTION:
                    (staging / part).parent.mkdir(parents=True, exist_ok=True)
                    foreign_files.copy(image.folder, part, staging / part, (image.folder / part).stat().st_size)
            fresh.rename(staging / layout.WARM)
            described = image.description.model_copy(update={"name": name, "version": version})
            (staging / layout.DESCRIPTION).write_text(description.text(described))
        except OSError as error:
            what = f"{staging.parent}: the new version cannot be kept there: {error}"
            raise Refusal(ExitCode.RESOURCES, what, hint="make room there; nothing was changed") from None


def _freeze(context: CommandContext, prepared: Prepared, target: Path, needs: warm.Needs) -> int:
    """Run the machine and leave its warm state in `target`; returns what went wrong as an exit code. Raises Refusal."""

    def harvest(folder: Path, state: SessionState) -> None:
        if "frozen" in state.milestones:
            _take(folder, warm.WarmState(target, needs, state.certificate), prepared.disk_size)

    outcome = image_session.run(prepared, display.choose(as_json=False, sif=context.here.sif), harvest)
    if (target / layout.WARM_RECORD).exists():
        return ExitCode.OK
    if outcome.code is ExitCode.OK:
        what = "the machine ended before it could be frozen, so there is no warm state"
        raise Refusal(ExitCode.NOT_READY, what, hint="try again, and leave the guest alone meanwhile")
    return outcome.code


def _described(fresh: Path, title: str, needs: warm.Needs) -> str:
    memory, disk = (_allocated(fresh / name) >> 20 for name in (layout.WARM_MEMORY, layout.DISK))
    return f"7lbd: {title} is warm: memory {memory} MiB, disk {disk} MiB, CPU model {needs.cpu}"


def _folder(image: Image) -> Path:
    """The version's folder. Raises Refusal for an image that cannot have a warm state."""
    if image.folder is None:
        what = f"{image.title}: a bare disk file has no place for a warm state"
        raise Refusal(ExitCode.IMAGE, what, hint="7lbd image add DISK --name NAME --version VERSION")
    if Channel.AGENT not in image.description.channels:
        what = f"{image.title}: a warm start sets the password by the guest agent, which the image does not have"
        raise Refusal(ExitCode.IMAGE, what, hint='install it, and add "agent" to `channels` in image.toml')
    if image.description.disk_bus is DiskBus.NVME:
        # QEMU, hw/nvme/ctrl.c: its state is marked as one that cannot be migrated.
        what = f"{image.title}: has its disk on NVMe, whose state QEMU cannot freeze"
        raise Refusal(ExitCode.IMAGE, what, hint='`disk_bus = "virtio"` or "scsi", with the driver in the guest')
    return image.folder


def _fits(where: Path, needs: warm.Needs) -> bool:
    try:
        state = warm.read(where)
    except warm.WarmError:
        return False
    return state is not None and not state.needs.differences(needs)


def _check_place(where: Path, title: str, *, again: bool) -> None:
    """Raises Refusal when no warm state can be put there, or the one that is there be replaced."""
    other = "--as VERSION makes a new version with it"
    if where.stat().st_uid != os.getuid():
        what = f"{where}: is not yours, so nothing can be added to it"
        raise Refusal(ExitCode.IMAGE, what, hint="call this as the owner of the image repository")
    if manifest.exists(where):
        what = f"{title} is signed, and whatever is added to it would break its seal"
        raise Refusal(ExitCode.IMAGE, what, hint=f"{other}, which you sign")
    if not (where / layout.WARM).exists():
        return
    if not again:
        what = f"{title} has a warm state already"
        raise Refusal(ExitCode.IMAGE, what, hint=f"--again replaces it when no session runs from it; {other}")
    owner = repositories.owner(where)
    if owner and (users := Repository(owner[0]).users(owner[1].name, owner[1].version)):
        what = f"{title} is in use, and sessions may run from its warm state: {'; '.join(users)}"
        raise Refusal(ExitCode.IMAGE, what, hint=f"wait for their end; or {other}")


def _prepared(context: CommandContext, image: Image, where: Path) -> tuple[Prepared, warm.Needs]:
    """A session of nobody's: no shares, no SMBIOS strings, a password that dies with it."""
    memory = context.settings.memory or image.description.memory
    chosen = context.settings.model_copy(
        update={
            "image": str(where),
            "name": f"warm-{session_folders.new_name()}",
            "home_share": False,
            "shares": (),
            "warm": False,
            # What is made lies in a repository, and not in its session.
            "encrypt": False,
            "timezone": timezones.IMAGE,
            # A new version is made warm before it is signed. One that is signed is copied: as it was signed.
            "require_signed": context.settings.require_signed and manifest.exists(where),
            "web": "off",
            "rdp_tls": "",
            "exit_when_ready": False,
            # Its memory is a file in the session's folder, and QEMU dies of a full disk there.
            "min_space": context.settings.min_space + memory,
        }
    )
    prepared = prepare.prepare(chosen, context.here.environment, context.umask, context.folders)
    plan = prepared.plan
    cpu = warmth.cpu_model(context.settings, plan.accel)
    guest = replace(plan.guest, cpu=cpu)
    needs = warmth.needs(image, guest, plan.accel, plan.network, cpu, plan.egress)
    plan = replace(plan, guest=guest, freeze=True, logon_hook=image.description.logon_hook)
    return without_project(replace(prepared, plan=plan)), needs


@contextmanager
def _staging(where: Path) -> Iterator[Path]:
    """A folder to make the warm state of version `where` in, hidden and on the same file system; gone when this ends.

    A mark beside it says whose it is, on a network file system, too: what a killed one left is removed by the next.
    """
    staging = where.with_name(f"{layout.NEW_WARM}{where.name}")
    with ExitStack() as undo:
        try:
            undo.enter_context(exclusive.by_heartbeat(where.with_name(f"{layout.WARMING}{where.name}"), patience=1))
            leftovers.remove(staging)
            (staging / layout.WARM).mkdir(mode=0o700, parents=True)
        except OSError as error:
            what = f"{where.parent}: cannot be written to: {error.strerror}"
            raise Refusal(ExitCode.IMAGE, what, hint="make the warm state where the repository is writable") from None
        undo.callback(leftovers.remove, staging)
        yield staging / layout.WARM


def _take(folder: Path, state: warm.WarmState, size: int) -> None:
    """Copy what the frozen machine, with a disk of `size` bytes, left. Raises Refusal."""
    files = [
        (shared_files.OVERLAY, state.disk, overlay_disk.most(size)),
        (shared_files.MEMORY, state.memory, state.needs.memory),
        (shared_files.STATE, state.state, _MOST_DEVICES),
    ]
    if state.variables:
        files.append((shared_files.VARIABLES, state.variables, installation.MOST_VARIABLES))
    try:
        for source, target, most in files:
            foreign_files.copy(folder, source, target, most)
        warm.write(state)
    except OSError as error:
        what = f"{state.folder.parent}: the warm state cannot be kept there: {error}"
        raise Refusal(ExitCode.RESOURCES, what, hint="make room there; nothing was changed") from None


def _put_in_place(fresh: Path, where: Path) -> None:
    """Show the warm state to sessions by one rename; an old one goes aside first, and they boot meanwhile."""
    for path in fresh.iterdir():
        path.chmod(0o444)
    owner = repositories.owner(where)
    with Repository(owner[0]).amended(owner[1].name, owner[1].version) if owner else _open(where):
        target = where / layout.WARM
        if target.exists():
            target.chmod(0o700)
            target.rename(fresh.with_name("old"))
        fresh.rename(target)
        target.chmod(0o555)


@contextmanager
def _open(folder: Path) -> Iterator[Path]:
    """A folder that is no version of a repository's, for us to write to."""
    mode = folder.stat().st_mode
    folder.chmod(mode | 0o200)
    try:
        yield folder
    finally:
        folder.chmod(mode)


def _allocated(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_blocks * 512
    return 0


def _options(parser: Parser) -> None:
    options(parser, "image_dirs", *_SETTINGS)
    parser.add_argument("image", metavar="NAME[@VERSION]|FOLDER", help="the image")
    when = parser.add_mutually_exclusive_group()
    when.add_argument("--again", action="store_true", help="replace the warm state that it has")
    when.add_argument(
        "--as", dest="as_version", default="", metavar="VERSION", help="make a new version with it: a copy of this one"
    )
    when.add_argument("--if-needed", action="store_true", help="do nothing when it has one that fits, else replace it")


COMMANDS = {"image warm": Command(make_warm, _options)}
