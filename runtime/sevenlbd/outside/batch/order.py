"""What is to run, as it lies on the share `job`: `order.json`, which the guest's `exec_hook` reads."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PureWindowsPath

from ...base.errors import ExitCode, Refusal
from ...wire.job_files import ORDER
from ..folders.job_folder import JobFolder
from . import windows_words

_FORMAT = 1  # of the contract in docs/exec.md
_MAX_ORDER = 1 << 20  # bytes; both systems take less than that as arguments and environment
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_()]*")  # with the brackets of Windows' ProgramFiles(x86)


@dataclass(frozen=True)
class Order:
    """A command, its environment beside the account's own, and what it has: an input, a visible desktop."""

    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    input: bool = False
    desktop: bool = False

    def text(self, *, windows: bool) -> str:
        """The file. Raises Refusal for a command that cannot be said."""
        if not self.command or not self.command[0]:
            raise Refusal(ExitCode.USAGE, "there is no command", hint="7lbd exec --image NAME -- PROGRAM ARGUMENTS")
        for word in (*self.command, *self.environment.values()):
            _check(word)
        said: dict[str, object] = {"format": _FORMAT, "command": list(self.command)}
        if windows:
            said["line"] = windows_words.line(self.command)
        said |= {"environment": _environment(self.environment, windows), "input": self.input, "desktop": self.desktop}
        made = json.dumps(said)
        if len(made) > _MAX_ORDER:
            raise Refusal(ExitCode.USAGE, "the command and its environment are too long: 1 MB at most")
        return made

    def write(self, folder: JobFolder, *, windows: bool) -> None:
        """Put it there; the guest sees all of it or none."""
        folder.put(ORDER, self.text(windows=windows).encode())


def _environment(given: Mapping[str, str], windows: bool) -> dict[str, str]:
    """Of two names that Windows takes for one the last counts: its reader of JSON refuses an object with both."""
    alike = {name.upper() if windows else name: (name, value) for name, value in given.items()}
    return dict(alike.values())


def environment(settings: Sequence[str]) -> dict[str, str]:
    """NAME=VALUE each. Raises Refusal for what is not."""
    made = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals or not _NAME.fullmatch(name):
            raise Refusal(ExitCode.USAGE, f"--env {setting}: is not NAME=VALUE", hint="--env OMP_NUM_THREADS=4")
        made[name] = value
    return made


def powershell(script: str, arguments: Sequence[str]) -> tuple[str, ...]:
    """How Windows PowerShell runs a script file with arguments that stay what they are; its `exit` is the exit code."""
    if PureWindowsPath(script).suffix.lower() != ".ps1":
        raise Refusal(ExitCode.USAGE, f"--shell powershell: {script} is not a .ps1 file, and PowerShell runs no other")
    words = ("powershell.exe", "-NoLogo", "-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Bypass")
    return (*words, "-File", script, *arguments)


def _check(word: str) -> None:
    if "\0" in word:
        raise Refusal(ExitCode.USAGE, "an argument or a variable has a zero byte in it, which no system can hand over")
    if any("\ud800" <= c <= "\udfff" for c in word):
        raise Refusal(ExitCode.USAGE, f"{word!r}: is not UTF-8", hint="write it to a file, and give its name")
