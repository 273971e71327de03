"""What a repository has and shows: list, show, publish, rollback, rm, gc."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...base import units
from ...base.errors import ExitCode, Refusal, visible
from ...config.settings import parse_duration
from ...images import names
from ...images.lookup import image, repositories
from ...images.names import Reference
from ...images.repository import gc, history, inventory
from ...images.repository.inventory import Item
from ...images.repository.versions import Repository
from ...images.signing import signature
from ..cli.command import Command, CommandContext
from ..cli.parser import Parser, option
from ..console import terminal

_KEEP = 3  # versions; the one that is published, the one to go back to, and one more
_GRACE = "14d"
_MOST_USERS = 20  # lines; a screenful
_HAPPENED = {history.PUBLISH: "published", history.ROLLBACK: "back again"}


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"`{text}` is not a number of versions")
    return int(text)


def _duration(text: str) -> float:
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"`{text}`: {error}") from None
    assert isinstance(seconds, int | float)
    return float(seconds)


def _list(context: CommandContext) -> int:
    wanted = context.options.name
    if wanted:
        repositories.repository_of(names.parse(wanted), context.folders)
    found = inventory.items(context.folders, wanted)
    if context.options.json:
        terminal.say_json([asdict(item) for item in found])
    elif found:
        terminal.say_text(_table(found, in_many=len({Path(item.folder).parents[1] for item in found}) > 1))
    else:
        looked = ", ".join(map(str, context.folders)) or "nowhere: image_dirs is empty"
        terminal.say(f"there is no image (looked in {looked})")
    return ExitCode.OK


def _table(found: Sequence[Item], *, in_many: bool) -> str:
    """Columns as wide as they must be. The repository is named only when there are several."""
    rows = [("IMAGE", "VERSION", "", "MADE", "DISK USE", "WARM", "SIGNED", "REPOSITORY")]
    for item in found:
        warm = "" if not item.warm else "broken" if item.warm.startswith("broken") else "yes"
        rows.append(
            (
                item.name,
                item.version,
                "current" if item.current else "",
                item.made[:10],
                units.size(item.allocated),
                warm,
                "yes" if item.signer else "",
                str(Path(item.folder).parents[1 if item.version else 0]),
            )
        )
    if not in_many:
        rows = [(*row[:-1], "") for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(visible(text).ljust(width) for text, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(line.rstrip() for line in lines)


def _show(context: CommandContext) -> int:
    sheet = _sheet(context, names.parse(context.options.image))
    if context.options.json:
        terminal.say_json(sheet)
        return ExitCode.OK
    rows = list(_rows(sheet))
    width = max(len(label) for label, _ in rows)
    terminal.say(*(f"{label.ljust(width)}  {text}".rstrip() for label, text in rows))
    return ExitCode.OK


def _sheet(context: CommandContext, wanted: Reference) -> dict[str, Any]:
    """All that is known of one version."""
    ref, folder = repositories.locate(wanted, context.folders)
    found = image.from_folder(folder)
    owner = Repository(folder.parents[1] if ref.version else folder.parent)
    told = [event for event in history.events(owner.path / ref.name) if event.version == ref.version]
    return asdict(inventory.item(owner, ref, _current(ref, context.folders))) | {
        "title": found.description.title,
        "disk_size": found.size,
        "description": found.description.model_dump(mode="json", by_alias=True),
        "signature": _signed(folder, context.settings.trusted_keys),
        "users": _users(ref, context.folders) if ref.version else [],
        "history": [asdict(event) for event in told],
        "parts": [asdict(part) for part in inventory.parts(folder)],
    }


def _rows(sheet: dict[str, Any]) -> Iterator[tuple[str, str]]:
    ref = Reference(sheet["name"], sheet["version"])
    yield "image", f"{ref} (current)" if sheet["current"] else str(ref)
    if sheet["title"]:
        yield "title", sheet["title"]
    yield "folder", sheet["folder"]
    yield "made", sheet["made"]
    for event in sheet["history"]:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(event["at"]))
        yield _HAPPENED[event["act"]], f"{when} by {event['who']}"
    described = sheet["description"]
    yield "disk", f"{units.size(sheet['disk_size'])}, {described['format']}"
    keys = ("os", "firmware", "machine", "disk_bus", "nic")
    yield "machine", ", ".join(described[key] for key in keys)
    yield "asks for", f"{units.size(described['memory'])} of memory, {described['cpus']} CPUs"
    yield "warm", sheet["warm"] or "no"
    yield "signed", sheet["signature"]
    users = sheet["users"] or ["by nobody that is known of"]
    yield from zip(["in use", *[""] * len(users)], users[:_MOST_USERS], strict=False)
    if len(users) > _MOST_USERS:
        yield "", f"and {len(users) - _MOST_USERS} more"
    yield "parts", f"{units.size(sheet['apparent'])}, of which {units.size(sheet['allocated'])} are on the disk"
    for part in sheet["parts"]:
        yield "", f"{part['name']}: {units.size(part['apparent'])}, {units.size(part['allocated'])} on the disk"


def _current(ref: Reference, folders: Sequence[Path]) -> str:
    """What new sessions get; a copy in the cache does not say."""
    try:
        return repositories.locate(Reference(ref.name), folders)[0].version
    except Refusal:
        return ""


def _users(ref: Reference, folders: Sequence[Path]) -> list[str]:
    """Who uses it, in whatever repository it lies: a copy in a cache is the same version."""
    owners = [Repository(folder) for folder in folders if Repository(folder).has(ref)]
    return [user for owner in owners for user in owner.users(ref.name, ref.version)]


def _signed(folder: Path, trusted: Sequence[str]) -> str:
    """Whose signature it is, and what it is worth here. The parts are not read: that is `verify`."""
    claimed = inventory.signer(folder)
    if not claimed:
        return "no"
    try:
        return f"{signature.check(folder, signature.trusted(trusted)).key}, trusted here"
    except Refusal as refusal:
        return refusal.what


def _publish(context: CommandContext) -> int:
    ref = names.parse(context.options.image, exact=True)
    owner = repositories.repository_of(ref, context.folders)
    folder = owner.folder(ref)
    # What no session could start from is not let out.
    image.from_folder(folder)
    if context.settings.require_signed:
        signature.check(folder, signature.trusted(context.settings.trusted_keys))
    owner.publish(ref.name, ref.version)
    terminal.say(f"{ref} is current in {owner.path}: new sessions get it")
    return ExitCode.OK


def _rollback(context: CommandContext) -> int:
    ref = _plain(context.options.image)
    owner = repositories.repository_of(ref, context.folders)
    version = owner.rollback(ref.name)
    terminal.say(f"{ref}@{version} is current again in {owner.path}: new sessions get it")
    return ExitCode.OK


def _plain(text: str) -> Reference:
    ref = names.parse(text)
    if ref.version:
        what = f"`{text}`: a version is not wanted here, only the image's name"
        raise Refusal(ExitCode.USAGE, what, hint=f"{ref.name}; or: 7lbd image publish {ref}")
    return ref


def _remove(context: CommandContext) -> int:
    ref = names.parse(context.options.image, exact=True)
    owner = repositories.repository_of(ref, context.folders)
    freed = sum(part.allocated for part in inventory.parts(owner.folder(ref)))
    owner.remove(ref.name, ref.version, even_current=context.options.force)
    terminal.say(f"{ref} is removed from {owner.path}: {units.size(freed)} freed")
    return ExitCode.OK


def _collect(context: CommandContext) -> int:
    ref = _plain(context.options.name) if context.options.name else None
    repository_folders = (
        [repositories.repository_of(ref, context.folders)]
        if ref
        else _writable(context.folders, context.options.dry_run)
    )
    freed = 0
    for repository in repository_folders:
        if not context.options.dry_run:
            repository.tidy()
        for name in [ref.name] if ref else repository.names():
            freed += _collect_one(context, repository, name)
    terminal.say(f"{units.size(freed)} {'would be freed' if context.options.dry_run else 'freed'}")
    return ExitCode.OK


def _collect_one(context: CommandContext, repository: Repository, name: str) -> int:
    """Judge all versions first, then remove; one that is taken into use meanwhile stays. Returns the bytes freed."""
    freed = 0
    for verdict in gc.judge(repository, name, context.options.keep, context.options.grace):
        ref = Reference(name, verdict.version)
        why = verdict.why
        size = 0 if why else sum(part.allocated for part in inventory.parts(repository.folder(ref)))
        if not why and not context.options.dry_run:
            try:
                repository.remove(name, verdict.version)
            except Refusal as refusal:
                if refusal.code is not ExitCode.IMAGE:
                    raise
                why = refusal.what
        if why:
            terminal.say(f"kept      {ref}: {why}")
        else:
            terminal.say(f"{'would go ' if context.options.dry_run else 'removed  '} {ref}: {units.size(size)}")
            freed += size
    return freed


def _writable(folders: Sequence[Path], dry_run: bool) -> list[Repository]:
    there = [folder for folder in folders if folder.is_dir()]
    if dry_run:
        return [Repository(folder) for folder in there]
    repositories.writable(there)
    return [Repository(folder) for folder in there if repositories.may_write(folder)]


def _list_options(parser: Parser) -> None:
    option(parser, "image_dirs")
    parser.add_argument("name", nargs="?", default="", metavar="NAME", help="only this image's versions")
    parser.add_argument("--json", action="store_true", help="as JSON")


def _show_options(parser: Parser) -> None:
    option(parser, "image_dirs")
    parser.add_argument("image", metavar="NAME[@VERSION]", help="the current version when none is named")
    parser.add_argument("--json", action="store_true", help="as JSON")


def _publish_options(parser: Parser) -> None:
    option(parser, "image_dirs")
    parser.add_argument("image", metavar="NAME@VERSION")


def _rollback_options(parser: Parser) -> None:
    option(parser, "image_dirs")
    parser.add_argument("image", metavar="NAME")


def _remove_options(parser: Parser) -> None:
    option(parser, "image_dirs")
    parser.add_argument("image", metavar="NAME@VERSION")
    parser.add_argument(
        "--force", action="store_true", help="even the current one, so that new sessions get none; never one in use"
    )


def _collect_options(parser: Parser) -> None:
    option(parser, "image_dirs")
    parser.add_argument("name", nargs="?", default="", metavar="NAME", help="only this image's versions")
    parser.add_argument(
        "--keep", type=_number, default=_KEEP, metavar="N", help=f"keep the last N versions (default: {_KEEP})"
    )
    parser.add_argument(
        "--grace",
        type=_duration,
        default=_GRACE,
        metavar="DURATION",
        help="keep what was current within this time: sessions on nodes that may not write to the repository leave no "
        f"trace there, so let it be longer than your longest job (default: {_GRACE})",
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would be removed, and what not and why")


COMMANDS = {
    "image list": Command(_list, _list_options),
    "image show": Command(_show, _show_options),
    "image publish": Command(_publish, _publish_options),
    "image rollback": Command(_rollback, _rollback_options),
    "image rm": Command(_remove, _remove_options),
    "image gc": Command(_collect, _collect_options),
}
