"""The disc that answers what Windows' Setup asks, and brings the first-boot script. It writes files and starts nothing.

The wording is in the templates of containers/windows; here is what goes into their blanks. Sources: Microsoft,
"Unattended Windows Setup Reference" and "Windows Setup Automation Overview": Setup takes `Autounattend.xml` from the
root of any disc.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...images.media import setup_media
from ...images.media.wim import Edition
from ..access.credentials import new_password

if TYPE_CHECKING:
    import jinja2

TEMPLATES = Path("/usr/share/7lbd/windows")
LABEL = "ANSWERS"
ANSWER, FIRST_BOOT = "Autounattend.xml", "7lbd/first-boot.ps1"
_SCRIPTS = (
    *("SevenLBD.psm1", "start.ps1", "drives.ps1", "session.ps1", "notice.ps1", "logon.ps1", "finish.ps1"),
    *("exec.ps1", "RunJob.cs", "join.ps1", "worker.ps1"),
)
_TARGET = r"C:\ProgramData\7lbd"
COMPUTER = "SEVENLBD"
# Windows PE gives letters as it finds drives; on a blank disk the first optical one may be C.
_LETTERS = "CDEFGH"
# What PowerShell takes for a single quote: its own source, `CharTraits.IsSingleQuote`.
_QUOTES = "'\u2018\u2019\u201a\u201b"


_NUMBERS = (
    ("no automatic BitLocker", r"SYSTEM\CurrentControlSet\Control\BitLocker", "PreventDeviceEncryption"),
    ("no network asked for", r"SOFTWARE\Microsoft\Windows\CurrentVersion\OOBE", "BypassNRO"),
    ("no updates", r"SOFTWARE\Policies\Microsoft\Windows\WindowsUpdate\AU", "NoAutoUpdate"),
    # The agent sets the clock as soon as it is installed, and Windows then sets the machine's own, which is read as UTC
    # from the next start on.
    ("the machine's clock is UTC", r"SYSTEM\CurrentControlSet\Control\TimeZoneInformation", "RealTimeIsUniversal"),
)


@dataclass(frozen=True)
class SetupOptions:
    """What the admin chose, checked. An empty product key is none."""

    edition: Edition
    drivers: str
    """The folder of the system's drivers on the virtio disc, such as `w11`."""
    title: str
    account: str
    language: str
    timezone: str
    product_key: str


@dataclass(frozen=True)
class SetupCommand:
    """Something that Setup runs before Windows starts for the first time."""

    what: str
    line: str


def render(options: SetupOptions, folder: Path = TEMPLATES) -> dict[str, str]:
    """Every file of the disc by its path, with new throw-away passwords in it."""
    answer = _environment(folder, autoescape=True).get_template("autounattend.xml.j2")
    first_boot = _environment(folder, autoescape=False).get_template("first-boot.ps1.j2")
    return {
        ANSWER: answer.render(
            edition=options.edition,
            title=options.title,
            account=options.account,
            language=options.language,
            timezone=options.timezone,
            product_key=options.product_key,
            computer=COMPUTER,
            driver_paths=list(_driver_paths(options.drivers)),
            commands=list(_commands()),
            first_logon=rf"powershell.exe -NoProfile -ExecutionPolicy Bypass -File {_TARGET}\first-boot.ps1",
            administrator_password=new_password(),
            account_password=new_password(),
        ),
        FIRST_BOOT: first_boot.render(title=options.title, account=options.account),
        **{f"7lbd/{name}": (folder / name).read_text() for name in _SCRIPTS},
    }


def encoded(files: Mapping[str, str]) -> dict[str, bytes]:
    """The files as Windows reads them: its line ends, and for PowerShell 5.1 a mark that it is UTF-8."""
    marks = {path: "utf-8" if path == ANSWER else "utf-8-sig" for path in files}
    return {path: text.replace("\n", "\r\n").encode(marks[path]) for path, text in files.items()}


def timezones(folder: Path = TEMPLATES) -> list[str]:
    """Windows' own names of time zones."""
    return (folder / "timezones.txt").read_text().splitlines()


def literal(text: str) -> str:
    """`text` as a PowerShell string in which nothing is special."""
    return "'" + "".join(c * 2 if c in _QUOTES else c for c in text) + "'"


def _environment(folder: Path, *, autoescape: bool) -> jinja2.Environment:
    import jinja2  # only for this verb; the others should not wait for it

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        undefined=jinja2.StrictUndefined,
        autoescape=autoescape,
        keep_trailing_newline=True,
    )
    environment.filters["literal"] = literal
    return environment


def _driver_paths(system: str) -> Iterator[str]:
    for folder in setup_media.DRIVERS:
        for letter in _LETTERS:
            yield rf"{letter}:\{folder}\{system}\amd64"


def _commands() -> Iterator[SetupCommand]:
    search = rf"for %d in ({' '.join(_LETTERS)}) do if exist %d:\7lbd\SevenLBD.psm1 xcopy /e /i /y %d:\7lbd {_TARGET}"
    yield SetupCommand("the scripts, from whichever drive has them", f'cmd.exe /c "{search}"')
    # What must hold before the first-boot script can see to it.
    for what, key, name in _NUMBERS:
        yield SetupCommand(what, rf"reg.exe add HKLM\{key} /v {name} /t REG_DWORD /d 1 /f")
