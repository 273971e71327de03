"""Maintenance of an image: a writable disk on top of it as an admin's session, then a new version of it, or nothing.

The version itself is never written to. The child lies in the repository, so that neither a killed session nor a full
disk loses an afternoon's work: what is not committed or discarded is kept, and the next call goes on with it.
"""

from __future__ import annotations

import asyncio
import getpass
import os
import shutil
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ...base import text_files
from ...base.errors import ExitCode, Refusal
from ...base.paths import user_path
from ...images import description, names, qcow2
from ...images.lookup import image as images
from ...images.lookup import repositories
from ...images.lookup.image import Image, ImageLayer
from ...images.names import Reference
from ...images.repository import versions
from ...images.repository.maintenance import Maintenance, MaintenanceRecord
from ...images.repository.versions import Repository
from ...wire import messages
from ...wire.messages import Layer
from ...wire.state import SessionState
from ..cli.command import Command, CommandContext, say
from ..cli.parser import Parser, options
from ..console import display, terminal
from ..session import overlay_disk
from ..session.preflight import prepare
from ..session.preflight.prepared import Prepared
from . import flatten, image_session, installation

_SETTINGS = (
    *("memory", "cpus", "cpu_model", "accel", "network", "name", "shares", "home_share"),
    *("web", "web_tls", "console", "rdp_tls", "time_limit", "session_dir", "stop_grace", "min_space"),
)
# Somebody is looking: a guest that starts slowly, or only to a repair console, is not to be switched off for it.
_PATIENCE = 30 * 86400.0
_LONGEST_PASSWORD = 127


def _maintain(context: CommandContext) -> int:
    ref = names.parse(context.options.image)
    if context.options.publish and not context.options.commit:
        raise Refusal(ExitCode.USAGE, "command line: --publish goes with --commit VERSION", hint="or publish it later")
    repository = repositories.repository_of(ref, context.repository_folders)
    if repository.is_bare(ref.name) and not repository.versions(ref.name):
        what = f"image `{ref.name}` has no versions, so a new one would have no place"
        hint = f"7lbd image add {repository.path / ref.name}/DISK --name {ref.name} --version VERSION"
        raise Refusal(ExitCode.IMAGE, what, hint=hint)
    kept = Maintenance(repository.path / ref.name)
    if context.options.commit:
        _refuse_taken(repository, Reference(ref.name, context.options.commit))
    with kept.held():
        return _held(context, ref, repository, kept)


def _refuse_taken(repository: Repository, ref: Reference) -> None:
    names.check_version(ref.version)
    if repository.has(ref):
        what = f"{ref} exists already, and a version is never changed"
        raise Refusal(ExitCode.IMAGE, what, hint="choose another: --commit VERSION")


def _held(context: CommandContext, ref: Reference, repository: Repository, kept: Maintenance) -> int:
    """What was asked for, with the maintenance to ourselves."""
    if context.options.discard:
        return _discard(ref, kept)
    record = kept.record()
    if record and context.options.commit:
        return _commit(context, repository, kept, record, context.options.commit, publish=context.options.publish)
    if record and ref.version not in ("", record.base):
        what = f"a child of {ref.name}@{record.base} is kept, not of {ref.version}"
        raise Refusal(ExitCode.IMAGE, what, hint=f"first: {_call(ref)} --commit VERSION, or --discard")
    base = images.from_folder(repository.folder(Reference(ref.name, record.base if record else ref.version)))
    prepared = _prepared(context, kept, base, kept_already=record is not None)
    if record:
        say(f"going on with the child of {ref.name}@{record.base} of {_when(record.since)}")
    else:
        record = _begin(kept, base)
    return _session(context, ref, repository, kept, record, prepared)


def _discard(ref: Reference, kept: Maintenance) -> int:
    if not kept.folder.exists():
        what = f"no child of image `{ref.name}` is kept, so there is nothing to discard"
        raise Refusal(ExitCode.IMAGE, what, hint=f"to try something and keep nothing: 7lbd run --image {ref.name}")
    kept.discard()
    say(f"the child of image {ref.name} is discarded; its versions are as they were")
    return ExitCode.OK


def _begin(kept: Maintenance, base: Image) -> MaintenanceRecord:
    """A new maintenance, empty yet. Raises Refusal."""
    assert base.folder is not None
    try:
        kept.discard()  # what is left of one that was discarded halfway
        kept.begin(base.folder.name)
        layers = [Layer(str(layer.path), layer.format) for layer in base.layers]
        made = asyncio.run(overlay_disk.make_overlay(kept.folder, layers, base.size))
        Path(made).rename(kept.disk)
        if base.variables:
            shutil.copyfile(base.variables, kept.variables)
    except (OSError, Refusal) as error:
        kept.discard()
        why = getattr(error, "strerror", None) or getattr(error, "what", error)
        what = f"{kept.home}: a child cannot be made there: {why}"
        raise Refusal(ExitCode.RESOURCES, what, hint="make room in the repository") from None
    record = kept.record()
    assert record
    return record


def _prepared(context: CommandContext, kept: Maintenance, base: Image, *, kept_already: bool) -> Prepared:
    """The admin's session. Raises Refusal; nothing is written."""
    discs = [user_path(name) for name in context.options.iso]
    installation.check_discs(discs)
    password = _password(context.options.password_file)
    chosen = context.settings.model_copy(
        update={"image": str(base.folder), "warm": False, "exit_when_ready": False, "ready_timeout": _PATIENCE}
    )
    prepared = prepare.prepare(chosen, context.here.environment, context.umask, context.folders)
    plan = prepared.plan
    own_variables = kept_already and kept.variables.exists()
    plan = replace(
        plan,
        guest=replace(plan.guest, variables=str(kept.variables)) if own_variables else plan.guest,
        password=password or plan.password,
        overlay=str(kept.disk),
        cdroms=tuple(str(disc.resolve()) for disc in discs),
        lasting=True,
    )
    return replace(prepared, plan=plan, image_title=f"{prepared.image_title} (maintenance)")


def _password(source: str) -> str:
    """A fixed password, or an empty text for a random one. It never stands on a command line. Raises Refusal."""
    if not source:
        return ""
    try:
        if source != "-":
            with user_path(source).open("rb") as file:
                text = text_files.decoded(file.read(4096))
        elif sys.stdin.isatty():
            text = getpass.getpass("password for the maintenance session: ")
        else:
            text = sys.stdin.readline(4096)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise Refusal(
            ExitCode.USAGE, f"{source}: the password cannot be read: {why}", hint="one line of text"
        ) from None
    word = text.removesuffix("\n").removesuffix("\r")
    if not word or not word.isprintable() or len(word) > _LONGEST_PASSWORD:
        what = f"{source}: is not a password: one line of 1 to {_LONGEST_PASSWORD} printable characters"
        raise Refusal(ExitCode.USAGE, what, hint="leave --password-file out for a random one")
    return word


def _session(
    context: CommandContext,
    ref: Reference,
    repository: Repository,
    kept: Maintenance,
    record: MaintenanceRecord,
    prepared: Prepared,
) -> int:
    """Run it, and see what is to become of the maintenance."""
    record = replace(record, clean=False)
    kept.note(record)

    def harvest(place: Path, state: SessionState) -> None:
        installation.take_variables(place, kept.variables)

    outcome = image_session.run(prepared, display.choose(as_json=False, sif=context.here.sif), harvest)
    if outcome.state and outcome.state.end == messages.GUEST_SHUT_DOWN:
        record = replace(record, clean=True)
        with suppress(OSError):  # a full disk: then it is kept as one that was not shut down
            kept.note(record)
    if not record.clean and not (context.options.commit and context.options.force):
        say(f"the guest was not shut down, so nothing is committed. The child is kept: {_on(ref)}")
        return outcome.code
    if context.options.commit:
        return _commit(context, repository, kept, record, context.options.commit, publish=context.options.publish)
    if sys.stdin.isatty() and sys.stdout.isatty():
        return _asked(context, ref, repository, kept, record)
    say(f"the child is kept: {_on(ref)}")
    return outcome.code


def _asked(
    context: CommandContext, ref: Reference, repository: Repository, kept: Maintenance, record: MaintenanceRecord
) -> int:
    """What the admin at the terminal wants."""
    terminal.say(f"The guest has shut down. The child of {ref.name}@{record.base} can become a new version.")
    while True:
        try:
            word = input("Name of the new version, `discard`, or nothing to keep the child for later: ").strip()
        except EOFError:
            word = ""
        if not word:
            say(f"the child is kept: {_on(ref)}")
            return ExitCode.OK
        if word == "discard":
            return _discard(ref, kept)
        try:
            _refuse_taken(repository, Reference(ref.name, word))
            break
        except Refusal as refusal:
            terminal.say_text(f"7lbd: {refusal}")
    publish = input(f"Publish {ref.name}@{word} now, so that new sessions get it? [y/N] ").strip().lower() == "y"
    return _commit(context, repository, kept, record, word, publish=publish)


def _commit(
    context: CommandContext,
    repository: Repository,
    kept: Maintenance,
    record: MaintenanceRecord,
    version: str,
    *,
    publish: bool,
) -> int:
    """Make a version of the maintenance and the version below it. Until that is there, the maintenance is kept."""
    name = kept.home.name
    new = Reference(name, version)
    if not record.clean and not context.options.force:
        what = f"the guest of the child of {name}@{record.base} was not shut down, so its disk is as after a power cut"
        hint = f"start it again and shut it down: 7lbd image maintain {name}; or --commit {version} --force"
        raise Refusal(ExitCode.IMAGE, what, hint=hint)
    base = images.from_folder(repository.folder(Reference(name, record.base)))
    _check_disk(kept, base)
    with repository.staged(name, version) as staging:
        layers = [ImageLayer(kept.disk, "qcow2"), *base.layers]
        flatten.flatten(layers, staging / installation.DISK, f"making {new}")
        changes = {"name": name, "version": version, "disk": installation.DISK, "format": "qcow2", "variables": ""}
        if kept.variables.exists():
            shutil.copyfile(kept.variables, staging / installation.VARIABLES)
            changes["variables"] = installation.VARIABLES
        text = description.text(base.description.model_copy(update=changes))
        (staging / versions.DESCRIPTION).write_text(text)
    kept.discard()
    say(f"{new} is made of {name}@{record.base} and what was done to it")
    if publish:
        repository.publish(name, version)
        say(f"{new} is current: new sessions get it")
    else:
        say(f"let new sessions get it: 7lbd image publish {new}")
    return ExitCode.OK


def _check_disk(kept: Maintenance, base: Image) -> None:
    """The guest's QEMU wrote this file: only its blocks are believed. Raises Refusal."""
    try:
        header = qcow2.read(kept.disk)
    except (qcow2.HeaderError, OSError) as error:
        what = f"{kept.disk}: is not usable any more: {error}"
        raise Refusal(ExitCode.IMAGE, what, hint="discard it: --discard") from None
    below = os.fsdecode(header.backing_file.encode("utf-8", "surrogateescape"))
    if header.size != base.size or Path(below).name != base.layers[0].path.name:
        what = f"{kept.disk}: says that it is another disk than it was made as"
        raise Refusal(ExitCode.IMAGE, what, hint="discard it: --discard")


def _call(ref: Reference) -> str:
    return f"7lbd image maintain {ref.name}"


def _on(ref: Reference) -> str:
    return (
        f"to go on with it: {_call(ref)}; to make a version of it: {_call(ref)} --commit VERSION; "
        f"to throw it away: {_call(ref)} --discard"
    )


def _when(since: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(since))


def _options(parser: Parser) -> None:
    options(parser, "image_dirs", *_SETTINGS)
    parser.add_argument("image", metavar="NAME[@VERSION]", help="the image; the current version when none is named")
    parser.add_argument(
        "--iso", action="append", default=[], metavar="FILE", help="an ISO file for the machine's drives; up to four"
    )
    parser.add_argument(
        "--password-file",
        default="",
        metavar="FILE",
        help="the password to log in with, from a file, or `-` for the standard input (default: a random one)",
    )
    end = parser.add_mutually_exclusive_group()
    end.add_argument(
        "--commit",
        default="",
        metavar="VERSION",
        help="make this version of it when the guest has shut down; of a child that is kept, at once",
    )
    end.add_argument("--discard", action="store_true", help="throw away the child that is kept")
    parser.add_argument("--publish", action="store_true", help="with --commit: let new sessions get the new version")
    parser.add_argument(
        "--force",
        action="store_true",
        help="with --commit: even though the guest was not shut down, so that its disk is as after a power cut",
    )


COMMANDS = {"image maintain": Command(_maintain, _options)}
