"""`image build windows`: from Microsoft's disc and the virtio disc to an image. Checks, and makes the answers' disc."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from ...base import text_files
from ...base.errors import ExitCode, Refusal
from ...base.paths import user_path
from ...config.settings import nearest
from ...config.value_kinds import parse_duration, parse_size
from ...images import description, evaluation, layout, names
from ...images.description import Channel, Clock, Description, DiskBus, Firmware
from ...images.media import disc_files, product_keys, setup_media
from ...images.media.setup_media import WindowsDisc
from ...images.media.wim import Edition
from ..cli.command import Command, CommandContext
from ..cli.parser import Parser, options
from ..console import terminal
from . import scratch, setup_answers
from .setup_answers import SetupOptions

HOOK = ("powershell.exe", "-NoProfile", "-ExecutionPolicy", "Bypass", "-File", r"C:\ProgramData\7lbd\session.ps1")
"""What the agent runs in the guest after a warm start."""
NOTICE = (*HOOK[:-1], r"C:\ProgramData\7lbd\notice.ps1")
LOGON = (*HOOK[:-1], r"C:\ProgramData\7lbd\logon.ps1")
"""What it runs to tell the desktop's user something."""
EXEC = (*HOOK[:-1], r"C:\ProgramData\7lbd\exec.ps1")
_LEAST_DISK = 32 << 30  # bytes; learn.microsoft.com, "Hardware requirements for Windows Server": 32 GB
# learn.microsoft.com, "Windows 11 requirements": Setup refuses less.
_LEAST_W11_DISK, _LEAST_W11_MEMORY, _LEAST_W11_CPUS = 64 << 30, 4 << 30, 2
# Microsoft: five groups of five; neither vowels nor what is mistaken for one another, and an N somewhere in newer ones.
_KEY = re.compile(r"[BCDFGHJKMNPQRTVWXY2-46-9]{5}(-[BCDFGHJKMNPQRTVWXY2-46-9]{5}){4}")
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Z][a-z]{3})?-[A-Z]{2}")
_ACCOUNT = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,18}[A-Za-z0-9_-])?")
# Setup makes none of these: they are Windows' own, or the computer's name. learn.microsoft.com, "Local accounts".
_TAKEN_ACCOUNTS = frozenset(
    {"administrator", "guest", "defaultaccount", "defaultuser0", "wdagutilityaccount", "system", "none"}
    | {"localservice", "networkservice", "users", "administrators", setup_answers.COMPUTER.lower()}
)
# learn.microsoft.com, "Enable Remote Desktop": Home editions cannot be connected to.
_HOME_EDITIONS = frozenset({"Core", "CoreN", "CoreSingleLanguage", "CoreCountrySpecific"})
# Where Windows' own administrator is not called Administrator (vmware's packer-examples-for-vsphere, issue 332):
# Finnish, French, Hungarian, Portuguese, Russian, Spanish, Swedish. Microsoft's page on AutoLogon wants the English
# name all the same.
_OTHER_ADMINISTRATOR = frozenset({"fi", "fr", "hu", "pt", "ru", "es", "sv"})
_MAX_TITLE = 100  # characters; what is shown of a title (images/lookup/image.py)
# What the machine and its session are to be like, as with `run`.
_SETTINGS = ("memory", "cpus", "cpu_model", "accel", "network", "web", "session_dir", "min_space")


@dataclass(frozen=True)
class WindowsPlan:
    """All that is to be done, checked."""

    windows: Path
    drivers: Path
    setup: SetupOptions
    description: Description
    disk_size: int
    time_limit: float
    loaders: tuple[str, ...]
    """What the disc boots by, and who signed it."""
    doubts: tuple[str, ...]
    """What is known to go wrong with these discs, and is no reason to refuse them."""


def call(context: CommandContext) -> int:
    """Install, or show what would be done."""
    plan = planned(context)
    terminal.warn(*plan.doubts)
    files = setup_answers.render(plan.setup)
    if context.options.dry_run:
        return _shown(plan, files, user_path(context.options.dry_run))
    from . import installation

    with scratch.folder("7lbd-answers-") as folder:
        disc = folder / "answers.iso"
        disc_files.write(disc, setup_answers.LABEL, setup_answers.encoded(files))
        order = installation.Installation(
            description=plan.description,
            disk_size=plan.disk_size,
            cdroms=(plan.windows, plan.drivers, disc),
            time_limit=plan.time_limit,
            keys_at_boot=True,
            check=not context.options.no_check,
            publish=context.options.publish,
        )
        return installation.install(context, order)


def planned(context: CommandContext) -> WindowsPlan:
    """Everything checked, nothing done. Raises Refusal."""
    options = context.options
    names.check_name(options.name)
    names.check_version(options.version)
    size = _number("--size", options.size, parse_size)
    if size < _LEAST_DISK:
        raise _wrong(f"--size {options.size}: Windows does not fit", "at least 32G; it takes only what is filled")
    time_limit = _number("--within", options.within, parse_duration)
    _fits("--language", options.language, _LANGUAGE, "for instance en-US")
    _check_account(options.user)
    key = _product_key(options.product_key)
    _check_timezone(options.timezone)
    windows, drivers = user_path(options.iso), user_path(options.virtio)
    disc, driver_disc = setup_media.look(windows, drivers)
    edition = disc.edition(options.edition, options.language)
    if edition.id in _HOME_EDITIONS:
        what = f"{windows}: {edition.name} is a Home edition of Windows, which nobody can log in to by Remote Desktop"
        raise Refusal(ExitCode.IMAGE, what, hint="--edition with a Pro, Enterprise, Education or Server edition")
    described = _described(context, options.title or edition.name, _evaluation_ends(disc, edition))
    _check_machine(edition, described, int(size))
    system = driver_disc.check(edition)
    if described.firmware is Firmware.UEFI_SECURE:
        disc.check_secure_boot()
    if not key and not _is_evaluation(disc, edition):
        key = product_keys.fitting(edition.id, edition.build, volume=disc.volume)
    setup = SetupOptions(
        edition=edition,
        drivers=system,
        title=described.title,
        account=options.user,
        language=options.language,
        timezone=options.timezone,
        product_key=key,
    )
    return WindowsPlan(
        windows=windows.resolve(),
        drivers=drivers.resolve(),
        setup=setup,
        description=described,
        disk_size=int(size),
        time_limit=time_limit,
        loaders=tuple(map(str, disc.loaders)),
        doubts=tuple(
            filter(
                None,
                (driver_disc.doubts(system), _key_doubt(disc, edition, key), _language_doubt(options.language)),
            )
        ),
    )


def _key_doubt(disc: WindowsDisc, edition: Edition, key: str) -> str:
    if key or _is_evaluation(disc, edition):
        return ""
    return (
        f"no product key of Microsoft's own is known for {edition.name}, so Setup may stop and ask for one: "
        "--product-key gives it yours"
    )


def _language_doubt(language: str) -> str:
    if language.partition("-")[0] not in _OTHER_ADMINISTRATOR:
        return ""
    return (
        f"in {language} Windows' own administrator has another name than in English, by which it is to log on once: "
        "nobody has seen that work yet; media in English are the safe way"
    )


def _is_evaluation(disc: WindowsDisc, edition: Edition) -> bool:
    return disc.evaluation or product_keys.is_evaluation(edition.id)


def _evaluation_ends(disc: WindowsDisc, edition: Edition) -> str:
    """The last day, when it is installed today; empty for what is no evaluation."""
    if not _is_evaluation(disc, edition):
        return ""
    return str(evaluation.ends(date.today(), server=edition.kind.startswith("Server")))


def _described(context: CommandContext, title: str, evaluation_ends: str) -> Description:
    chosen = context.settings
    return Description(
        name=context.options.name,
        version=context.options.version,
        title=_title(title),
        firmware=Firmware(context.options.firmware),
        disk_bus=DiskBus.VIRTIO,
        clock=Clock.UTC,
        channels=(Channel.SMBIOS, Channel.AGENT),
        user=context.options.user,
        administrator="Administrator",
        memory=chosen.memory or 8 << 30,
        cpus=chosen.cpus or 4,
        warm_hook=HOOK,
        notice_hook=NOTICE,
        logon_hook=LOGON,
        exec_hook=EXEC,
        exec_desktop=True,
        evaluation_ends=evaluation_ends,
    )


def _check_account(name: str) -> None:
    _fits("--user", name, _ACCOUNT, "1 to 20 letters, digits, `.`, `_` and `-`, without a dot at the end")
    if name.lower() in _TAKEN_ACCOUNTS:
        raise _wrong(f"--user {name}: Windows has that name for itself", "another one, for instance user1")


def _check_machine(edition: Edition, machine: Description, disk: int) -> None:
    """Refuse what Setup would refuse after minutes. Raises Refusal."""
    if setup_media.driver_folder(edition) != "w11":
        return
    for flag, given, least, unit in (
        ("--size", disk, _LEAST_W11_DISK, "G"),
        ("--memory", machine.memory, _LEAST_W11_MEMORY, "G"),
        ("--cpus", machine.cpus, _LEAST_W11_CPUS, ""),
    ):
        if given < least:
            shown = f"{least >> 30}{unit}" if unit else str(least)
            raise _wrong(f"{flag}: {edition.name} is not installed with less than {shown}", f"{flag} {shown}, or more")


def _wrong(what: str, hint: str) -> Refusal:
    return Refusal(ExitCode.USAGE, f"command line: {what}", hint=hint)


def _number(flag: str, text: str, parse: Any) -> float:
    try:
        value = float(parse(text))
    except ValueError as error:
        raise _wrong(f"{flag} {text}: {error}", "7lbd image build windows --help") from None
    if not value:
        raise _wrong(f"{flag} {text}: must be more than nothing", "7lbd image build windows --help")
    return value


def _fits(flag: str, text: str, pattern: re.Pattern[str], hint: str) -> None:
    if not pattern.fullmatch(text):
        raise _wrong(f"{flag} {text[:80]!r} has not the right form", hint)


def _title(text: str) -> str:
    if len(text) > _MAX_TITLE or not text.isprintable():
        raise _wrong("--title is one line of at most 100 characters", "for instance `Windows 11, tools of the lab`")
    return text


def _product_key(text: str) -> str:
    """The key, from the command line or from a file: what stands in a command line, others on the node can read."""
    if text.startswith("@"):
        path = user_path(text[1:])
        try:
            with path.open("rb") as file:
                text = text_files.decoded(file.read(100)).strip()
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise _wrong(f"--product-key: {path} cannot be read: {reason}", "a file with the key alone") from None
    if text and not _KEY.fullmatch(text.upper()):
        # The key itself is not repeated: refusals end up in logs.
        raise _wrong("--product-key: that is not a product key", "five groups of five letters and digits, with `-`")
    return text.upper()


def _check_timezone(text: str) -> None:
    known = setup_answers.timezones()
    if text not in known:
        hint = "Windows' own names, as `tzutil /l` lists them, for instance `W. Europe Standard Time`"
        raise _wrong(f"--timezone `{text[:80]}` is none of Windows'{nearest(text, known)}", hint)


def _shown(plan: WindowsPlan, files: Mapping[str, str], target: Path) -> int:
    _write(target, plan, files)
    edition, setup = plan.setup.edition, plan.setup
    machine = plan.description
    lines = [
        f"would install {edition.name} (number {edition.index} on the disc, build {edition.build}, {setup.language})",
        f"  from      {plan.windows}",
        *(f"  boots by  {loader}" for loader in plan.loaders),
        f"  drivers   {plan.drivers} ({setup.drivers})",
        f"  answers   {target / 'answers.iso'}",
        f"  machine   {machine.firmware}, {machine.memory >> 20} MiB, {machine.cpus} CPUs",
        f"  disk      {plan.disk_size >> 30} GiB, {machine.disk_bus}",
        f"  within    {plan.time_limit / 3600:g} h, a key pressed at `Press any key to boot from CD or DVD`",
        f"  into      {machine.name}@{machine.version}",
        f"the files are in {target}; they hold passwords that are worth nothing after an installation",
    ]
    if machine.last_day:
        lines.append(f"note: an evaluation, installed today, {evaluation.told(machine.last_day, date.today())}")
    if machine.firmware is Firmware.UEFI and setup.drivers == "w11":
        lines.append("note: without a TPM most editions of Windows 11 refuse to be installed")
    terminal.say(*lines)
    return ExitCode.OK


def _write(target: Path, plan: WindowsPlan, files: Mapping[str, str]) -> None:
    """Fill the folder `target`, which appears when all is in it. Raises Refusal, OSError."""
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise _wrong(f"--dry-run: {target} is there already, and not empty", "name a new folder")
    parent = target.absolute().parent
    if not (parent.is_dir() and os.access(parent, os.W_OK | os.X_OK)):
        raise _wrong(f"--dry-run: {target} cannot be made: {parent} is no folder that you may write to", "name another")
    with scratch.folder(f".{target.name}-", parent) as staging:
        made = staging / "made"
        media_files = setup_answers.encoded(files)
        for path, content in media_files.items():
            (made / path).parent.mkdir(parents=True, exist_ok=True)
            (made / path).write_bytes(content)
        (made / layout.DESCRIPTION).write_text(description.text(plan.description))
        disc_files.write(made / "answers.iso", setup_answers.LABEL, media_files)
        made.rename(target)


def _options(parser: Parser) -> None:
    options(parser, "image_dirs", *_SETTINGS)
    parser.add_argument("--iso", required=True, metavar="ISO", help="Microsoft's installation disc, for x86-64")
    parser.add_argument("--virtio", required=True, metavar="ISO", help="the virtio-win disc: drivers and guest agent")
    parser.add_argument("--name", required=True, help="the image's name")
    parser.add_argument("--version", required=True, help="the image's version")
    parser.add_argument("--title", default="", help="a line for people (default: the edition)")
    parser.add_argument(
        "--edition", default="", help="English name of the edition, for instance `Windows 11 Enterprise`"
    )
    parser.add_argument(
        "--product-key",
        default="",
        metavar="KEY|@FILE",
        help="product key, or the file that has it (default: "
        "Microsoft's own for installing that edition, which activates nothing; none for an evaluation)",
    )
    parser.add_argument("--language", default="en-US", help="language and region (default: en-US)")
    parser.add_argument("--timezone", default="UTC", help="Windows' name of the time zone (default: UTC)")
    parser.add_argument("--user", default="user1", metavar="NAME", help="account that sessions use (default: user1)")
    parser.add_argument("--size", default="80G", help="size of the disk, which grows as it is filled (default: 80G)")
    parser.add_argument(
        "--firmware",
        choices=[str(Firmware.UEFI_SECURE), str(Firmware.UEFI)],
        default=str(Firmware.UEFI_SECURE),
        help="uefi-secure has Secure Boot and a TPM 2.0, as Windows 11 wants (default)",
    )
    parser.add_argument("--within", default="4h", metavar="DURATION", help="most that it may take (default: 4h)")
    parser.add_argument("--no-check", action="store_true", help="do not boot the result once, as a session")
    parser.add_argument("--publish", action="store_true", help="let new sessions get it, once it was seen ready")
    parser.add_argument("--dry-run", default="", metavar="DIR", help="start nothing; write the answers' disc to DIR")


COMMANDS = {"image build windows": Command(call, _options)}
