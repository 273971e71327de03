"""The verbs below `saved`: which there are, what is in one, whether it is whole, away with it; one's key."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from ...base import units
from ...base.errors import ExitCode, Refusal, visible
from ..cli.command import Command, CommandContext
from ..cli.parser import Parser, options
from ..console import progress_bar, terminal
from ..console.passphrase import PassphraseSource
from ..saved import claims, keys, places, reading, saved_format, unlocking
from ..saved.facts import SavedHeader


def list_all(context: CommandContext) -> int:
    """One line a desktop: name, image, when, size, where from."""
    folder = _folder(context)
    if folder:
        places.remove_interrupted(folder)
        claims.sweep(folder)
    found = places.all_in(folder) if folder else []
    if context.options.json:
        terminal.say_json([told for path in found if (told := _as_json(path))])
        return ExitCode.OK
    lines = [line(path) for path in found]
    terminal.say(*(lines or [f"there is no saved desktop{f' in {folder}' if folder else ''}"]))
    return ExitCode.OK


def line(path: Path) -> str:
    """One desktop, for people."""
    try:
        facts = _header(path).facts
        size = units.size(path.stat().st_size)
    except Refusal as refusal:
        return f"{visible(path.stem)}  UNUSABLE: {refusal.what}"
    except OSError as error:  # removed this moment
        return f"{visible(path.stem)}  UNUSABLE: {error.strerror}"
    memory = units.size(facts.machine.memory)
    used = f"  in use: {beat.note} on {beat.host}" if (beat := claims.user_of(path)) else ""
    return f"{visible(path.stem)}  {facts.title}  {_when(facts.saved_at)} on {facts.host}  {size}  needs {memory}{used}"


def _as_json(path: Path) -> dict[str, object] | None:
    """What a program is told; of one that cannot be read, nothing."""
    try:
        return asdict(_header(path)) | {"path": str(path)}
    except Refusal:
        return None


def show(context: CommandContext) -> int:
    """All that can be read of one without a key."""
    path = places.find(_folder(context), context.options.saved)
    header = _header(path)
    if context.options.json:
        terminal.say_json(asdict(header) | {"path": str(path)})
    else:
        terminal.say(*_described(path, header))
    return ExitCode.OK


def _described(path: Path, header: SavedHeader) -> Iterator[str]:
    facts, machine = header.facts, header.facts.machine
    yield f"{path}  {units.size(path.stat().st_size)}"
    yield f"  session {facts.session} of {facts.user}, account {facts.account}"
    yield f"  suspended {_when(facts.saved_at)} on {facts.host}, by 7lbd {facts.appliance}"
    yield f"  image {facts.title}{'' if facts.memory is None else ', from its warm state'}"
    for layer in (*facts.layers, *([facts.memory] if facts.memory else [])):
        yield f"    {layer.name}  {units.size(layer.size)}  {layer.root}"
    yield f"  {machine.machine}, QEMU {machine.qemu}, {machine.accel}, CPU {machine.cpu}, {machine.network} network"
    yield f"  {machine.cpus} CPUs, {units.size(machine.memory)}, {machine.firmware}{', TPM' if machine.tpm else ''}"
    if header.passphrase:
        yield "  closed with a passphrase"
    for part in header.parts:
        yield f"    {part.name}  {units.size(part.size)}, {units.size(part.stored)} of it in here"


def check(context: CommandContext) -> int:
    """Read all of one."""
    folder = _folder(context)
    path = places.find(folder, context.options.saved)
    source = PassphraseSource(context.settings.passphrase_file, context.options.passphrase)
    key = unlocking.opener(path, _header(path), folder, source.known, closed=source.is_wanted)
    with progress_bar.shown(f"checking {path.name}", path.stat().st_size) as advance:
        reading.read(path, key.identity, reading.Check(), advance)
    terminal.say(f"{path} is whole")
    return ExitCode.OK


def remove(context: CommandContext) -> int:
    """Remove one."""
    path = places.find(_folder(context), context.options.saved)
    _check_is_one(path)
    claims.check_unused(path)
    path.unlink()
    terminal.say(f"{path} is removed")
    return ExitCode.OK


def _check_is_one(path: Path) -> None:
    """One that is damaged, or of a newer format, can go, too. Raises Refusal for what is something else."""
    try:
        if saved_format.looks_saved(path):
            return
    except OSError as error:
        raise _unreadable(path, error) from None
    what = f"{path}: does not begin as a saved desktop does, so it is not removed"
    raise Refusal(ExitCode.USAGE, what, hint=f"if it can go: rm {shlex.quote(str(path))}")


def key(context: CommandContext) -> int:
    """The public half of the user's key: what another site's user gives to `suspend --recipient`."""
    folder = _folder(context)
    if folder is None:
        what = "there is no folder for the key of your saved desktops (state_dir is off)"
        raise Refusal(ExitCode.USAGE, what, hint="--state-dir DIR")
    terminal.say(keys.own(places.made(folder)))
    return ExitCode.OK


def _header(path: Path) -> SavedHeader:
    try:
        return reading.header(path)
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> Refusal:
    return Refusal(ExitCode.NO_SESSION, f"{path}: cannot be read: {error.strerror}", hint="7lbd saved list")


def _folder(context: CommandContext) -> Path | None:
    return places.folder(context.settings.state_dir, context.here.environment)


def _when(at: float) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(at))
    except (ValueError, OverflowError, OSError):
        return "at a time that there is not"


def _list_options(parser: Parser) -> None:
    parser.add_argument("--json", action="store_true", help="as JSON")
    options(parser, "state_dir")


def _which(parser: Parser) -> None:
    saved = "its name, or its file; not needed when you have only one"
    parser.add_argument("saved", nargs="?", metavar="NAME|FILE", default="", help=saved)
    options(parser, "state_dir")


def _check_options(parser: Parser) -> None:
    parser.add_argument("--passphrase", action="store_true", help="ask for the passphrase that closes it")
    options(parser, "passphrase_file")
    _which(parser)


def _key_options(parser: Parser) -> None:
    options(parser, "state_dir")


def _show_options(parser: Parser) -> None:
    parser.add_argument("--json", action="store_true", help="as JSON")
    _which(parser)


COMMANDS = {
    "saved list": Command(list_all, _list_options),
    "saved show": Command(show, _show_options),
    "saved check": Command(check, _check_options),
    "saved rm": Command(remove, _which),
    "saved key": Command(key, _key_options),
}
