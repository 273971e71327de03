"""What a repository need not keep: gc."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ...base import units
from ...base.errors import ExitCode, Refusal
from ...config.value_kinds import parse_duration
from ...images.lookup import repositories
from ...images.names import Reference
from ...images.repository import gc, inventory
from ...images.repository.versions import Repository
from ..cli.command import Command, CommandContext
from ..cli.parser import Parser, option
from ..console import terminal
from .publishing import plain_name

_KEEP = 3  # versions; the one that is published, the one to go back to, and one more
_GRACE = "14d"


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


def _collect(context: CommandContext) -> int:
    ref = plain_name(context.options.name) if context.options.name else None
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


COMMANDS = {"image gc": Command(_collect, _collect_options)}
