"""What a repository has: list and show."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import date
from itertools import compress
from pathlib import Path
from typing import Any

from ...base import units
from ...base.errors import ExitCode, Refusal, visible
from ...images import evaluation, names
from ...images.lookup import image, repositories
from ...images.names import Reference
from ...images.repository import acceptances, history, inventory
from ...images.repository.inventory import Item
from ...images.repository.versions import Repository
from ...images.signing import signature
from ..cli.command import Command, CommandContext
from ..cli.parser import Parser, option
from ..console import terminal

_MOST_USERS = 20  # lines; a screenful
_HAPPENED = {history.PUBLISH: "published", history.ROLLBACK: "back again"}


def _list(context: CommandContext) -> int:
    name = context.options.name
    if name:
        repositories.repository_of(names.parse(name), context.folders)
    items = inventory.items(context.folders, name)
    if context.options.json:
        terminal.say_json([asdict(item) for item in items])
    elif items:
        terminal.say_text(_table(items, in_many=len({Path(item.folder).parents[1] for item in items}) > 1))
    else:
        looked = ", ".join(map(str, context.folders)) or "nowhere: image_dirs is empty"
        terminal.say(f"there is no image (looked in {looked})")
    return ExitCode.OK


def _table(items: Sequence[Item], *, in_many: bool) -> str:
    """Columns as wide as they must be. What is the same for all, or said of none, has no column."""
    rows = [("IMAGE", "VERSION", "", "MADE", "DISK USE", "WARM", "SIGNED", "ACCEPTED", "EVALUATION ENDS", "REPOSITORY")]
    for item in items:
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
                item.accepted,
                item.evaluation_ends,
                str(Path(item.folder).parents[1 if item.version else 0]),
            )
        )
    optional = [any(item.accepted for item in items), any(item.evaluation_ends for item in items), in_many]
    needed = [True] * 7 + optional
    shown = [list(compress(row, needed)) for row in rows]
    widths = [max(len(row[column]) for row in shown) for column in range(sum(needed))]
    lines = ["  ".join(visible(text).ljust(width) for text, width in zip(row, widths, strict=True)) for row in shown]
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


def _sheet(context: CommandContext, reference: Reference) -> dict[str, Any]:
    """All that is known of one version."""
    ref, folder = repositories.locate(reference, context.folders)
    disk_image = image.from_folder(folder)
    owner = Repository(folder.parents[1] if ref.version else folder.parent)
    events = [event for event in history.events(owner.path / ref.name) if event.version == ref.version]
    return asdict(inventory.item(owner, ref, _current(ref, context.folders))) | {
        "title": disk_image.description.title,
        "disk_size": disk_image.size,
        "description": disk_image.description.model_dump(mode="json", by_alias=True),
        "signature": _signed(folder, context.settings.trusted_keys),
        "acceptance": str(acceptances.read(owner.path / ref.name, ref.version) or "") if ref.version else "",
        "users": _users(ref, context.folders) if ref.version else [],
        "history": [asdict(event) for event in events],
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
    if sheet["evaluation_ends"]:
        yield "evaluation", evaluation.told(date.fromisoformat(sheet["evaluation_ends"]), date.today())
    yield "warm", sheet["warm"] or "no"
    yield "accepted", sheet["acceptance"] or "never tried: 7lbd image accept"
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


def _list_options(parser: Parser) -> None:
    option(parser, "image_dirs")
    parser.add_argument("name", nargs="?", default="", metavar="NAME", help="only this image's versions")
    parser.add_argument("--json", action="store_true", help="as JSON")


def _show_options(parser: Parser) -> None:
    option(parser, "image_dirs")
    parser.add_argument("image", metavar="NAME[@VERSION]", help="the current version when none is named")
    parser.add_argument("--json", action="store_true", help="as JSON")


COMMANDS = {
    "image list": Command(_list, _list_options),
    "image show": Command(_show, _show_options),
}
