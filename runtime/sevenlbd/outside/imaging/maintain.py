"""Maintenance of an image: a writable disk on top of it as an admin's session, then a new version of it, or nothing.

The version itself is never written to. The child lies in the repository, so that neither a killed session nor a full
disk loses an afternoon's work: what is not committed or discarded is kept, and the next call goes on with it.
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ...base.errors import ExitCode, Refusal
from ...images import names
from ...images.lookup import image as images
from ...images.lookup import repositories
from ...images.names import Reference
from ...images.repository.maintenance import Maintenance, MaintenanceRecord
from ...images.repository.versions import Repository
from ...wire.keeper import GUEST_SHUT_DOWN
from ...wire.state import SessionState
from ..cli.command import Command, CommandContext, say
from ..cli.parser import Parser, options
from ..console import display, terminal
from ..session.preflight.prepared import Prepared
from . import committing, image_session, installation, maintenance_session

_SETTINGS = (
    *("memory", "cpus", "cpu_model", "accel", "network", "name", "shares", "home_share"),
    *("web", "web_tls", "console", "rdp_tls", "time_limit", "session_dir", "stop_grace", "min_space"),
)


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
        committing.refuse_taken(repository, Reference(ref.name, context.options.commit))
    with kept.held():
        return _held(context, ref, repository, kept)


def _held(context: CommandContext, ref: Reference, repository: Repository, kept: Maintenance) -> int:
    """What was asked for, with the maintenance to ourselves."""
    if context.options.discard:
        return _discard(ref, kept)
    record = kept.record()
    if record and context.options.commit:
        return committing.commit(
            context, repository, kept, record, context.options.commit, publish=context.options.publish
        )
    if record and ref.version not in ("", record.base):
        what = f"a child of {ref.name}@{record.base} is kept, not of {ref.version}"
        raise Refusal(ExitCode.IMAGE, what, hint=f"first: {_call(ref)} --commit VERSION, or --discard")
    base = images.from_folder(repository.folder(Reference(ref.name, record.base if record else ref.version)))
    prepared = maintenance_session.prepared(context, kept, base, kept_already=record is not None)
    if record:
        say(f"going on with the child of {ref.name}@{record.base} of {_when(record.since)}")
    else:
        record = maintenance_session.begin(kept, base)
    return _session(context, ref, repository, kept, record, prepared)


def _discard(ref: Reference, kept: Maintenance) -> int:
    if not kept.folder.exists():
        what = f"no child of image `{ref.name}` is kept, so there is nothing to discard"
        raise Refusal(ExitCode.IMAGE, what, hint=f"to try something and keep nothing: 7lbd run --image {ref.name}")
    kept.discard()
    say(f"the child of image {ref.name} is discarded; its versions are as they were")
    return ExitCode.OK


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
    if administrator := prepared.plan.administrator:
        say(f"`{administrator}` in the guest gets this session's password, too: with it you may install programs")

    def harvest(folder: Path, state: SessionState) -> None:
        installation.take_variables(folder, kept.variables)

    outcome = image_session.run(prepared, display.choose(as_json=False, sif=context.here.sif), harvest)
    if outcome.state and outcome.state.end == GUEST_SHUT_DOWN:
        record = replace(record, clean=True)
        with suppress(OSError):  # a full disk: then it is kept as one that was not shut down
            kept.note(record)
    if not record.clean and not (context.options.commit and context.options.force):
        say(f"the guest was not shut down, so nothing is committed. The child is kept: {_on(ref)}")
        return outcome.code
    if context.options.commit:
        return committing.commit(
            context, repository, kept, record, context.options.commit, publish=context.options.publish
        )
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
            answer = input("Name of the new version, `discard`, or nothing to keep the child for later: ").strip()
        except EOFError:
            answer = ""
        if not answer:
            say(f"the child is kept: {_on(ref)}")
            return ExitCode.OK
        if answer == "discard":
            return _discard(ref, kept)
        try:
            committing.refuse_taken(repository, Reference(ref.name, answer))
            break
        except Refusal as refusal:
            terminal.say_text(f"7lbd: {refusal}")
    publish = input(f"Publish {ref.name}@{answer} now, so that new sessions get it? [y/N] ").strip().lower() == "y"
    return committing.commit(context, repository, kept, record, answer, publish=publish)


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
