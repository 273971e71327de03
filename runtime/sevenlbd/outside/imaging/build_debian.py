"""`image build debian`: installs the project's stand-in from its own disc, by the same way as Windows."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...base.errors import ExitCode, Refusal
from ...base.paths import user_path
from ...config.value_kinds import parse_duration, parse_size
from ...images import description, layout, names
from ...images.description import Description
from ...images.media import disc_files
from ..cli.command import Command, CommandContext
from ..cli.parser import Parser, options

# What scripts/build-install-iso puts on its disc.
_SYSTEM, _DESCRIPTION = "install/root.img.zst", f"install/{layout.DESCRIPTION}"
_ANSWERS = "answers.cfg"
# What a machine calls itself: one label, without the underscore that names in DNS may have (hostname(7)).
_HOSTNAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_SETTINGS = ("memory", "cpus", "cpu_model", "accel", "network", "web", "session_dir", "min_space", "ready_timeout")


@dataclass(frozen=True)
class DebianOptions:
    """What was asked for, checked. Sizes in bytes, durations in seconds."""

    iso: Path
    described: Description
    size: int
    time_limit: float
    answers: str


def call(context: CommandContext) -> int:
    plan = planned(context)
    from . import installation

    with tempfile.TemporaryDirectory(prefix="7lbd-answers-") as folder:
        disc = Path(folder) / "answers.iso"
        disc_files.write(disc, "answers", {_ANSWERS: plan.answers.encode()})
        return installation.install(
            context,
            installation.Installation(
                description=plan.described,
                disk_size=plan.size,
                cdroms=(plan.iso, disc),
                time_limit=plan.time_limit,
                keys_at_boot=context.options.wait_for_key,
                check=not context.options.no_check,
                publish=context.options.publish,
            ),
        )


def planned(context: CommandContext) -> DebianOptions:
    """Everything checked, nothing done. Raises Refusal."""
    options = context.options
    names.check_name(options.name)
    names.check_version(options.version)
    if not _HOSTNAME.fullmatch(options.hostname):
        raise _wrong(f"--hostname {options.hostname}: is no host name", "lower-case letters, digits and `-`")
    iso = user_path(options.iso)
    changes = {"name": options.name, "version": options.version}
    changes |= {"title": options.title} if options.title else {}
    changes |= {"memory": context.settings.memory} if context.settings.memory else {}
    changes |= {"cpus": context.settings.cpus} if context.settings.cpus else {}
    return DebianOptions(
        iso=iso,
        described=_described(iso).model_copy(update=changes),
        size=int(_number("--size", options.size, parse_size)),
        time_limit=_number("--within", options.within, parse_duration),
        answers=f"hostname = {options.hostname}\nwait_for_key = {'yes' if options.wait_for_key else 'no'}\n",
    )


def _described(iso: Path) -> Description:
    """The machine that the disc is for; it says so itself."""
    with disc_files.opened(iso) as disc:
        if _SYSTEM not in disc or _DESCRIPTION not in disc:
            what = f"{iso}: is not the stand-in's disc: there is no {_SYSTEM} on it"
            raise Refusal(ExitCode.IMAGE, what, hint="scripts/build-install-iso makes one: build/install/debian.iso")
        text = disc.read(_DESCRIPTION, 1 << 16)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / layout.DESCRIPTION
        path.write_bytes(text)
        return description.read(path)


def _number(option: str, text: str, parse: Any) -> float:
    try:
        value = parse(text)
    except ValueError as error:
        raise _wrong(f"{option} {text}: {error}", "--help shows an example") from None
    if not isinstance(value, int | float) or value <= 0:
        raise _wrong(f"{option} {text}: must be more than nothing", "--help shows an example")
    return value


def _wrong(what: str, hint: str) -> Refusal:
    return Refusal(ExitCode.USAGE, f"command line: {what}", hint=hint)


def _options(parser: Parser) -> None:
    options(parser, "image_dirs", *_SETTINGS)
    parser.add_argument("--iso", required=True, metavar="ISO", help="its disc: scripts/build-install-iso makes one")
    parser.add_argument("--name", required=True, help="the image's name")
    parser.add_argument("--version", required=True, help="the image's version")
    parser.add_argument("--title", default="", help="a line for people")
    parser.add_argument("--size", default="12G", help="size of the disk, which grows as it is filled (default: 12G)")
    parser.add_argument("--hostname", default="stand-in", help="what the guest calls itself (default: stand-in)")
    parser.add_argument("--wait-for-key", action="store_true", help="let the disc wait for a key, as Microsoft's does")
    parser.add_argument("--within", default="30m", metavar="DURATION", help="most that it may take (default: 30m)")
    parser.add_argument("--no-check", action="store_true", help="do not boot the result once, as a session")
    parser.add_argument("--publish", action="store_true", help="let new sessions get it, once it was seen ready")


COMMANDS = {"image build debian": Command(call, _options)}
