"""A passphrase from its user: asked on the terminal, or the first line of a file. It never stands on a command line."""

from __future__ import annotations

import getpass
import os
import stat
import sys
from dataclasses import dataclass

from ...base import text_files
from ...base.errors import ExitCode, Refusal
from ...base.paths import user_path

_MOST = 1024  # bytes; a guess: nobody types as much
_WAYS = "--passphrase-file FILE, or - for standard input"


@dataclass(frozen=True)
class PassphraseSource:
    """Where it comes from."""

    file: str
    """`-` is standard input; empty for the terminal."""
    asked: bool
    """Whether the user says on the command line that there is one."""

    @property
    def is_wanted(self) -> bool:
        """Whether the user says that a passphrase closes the file."""
        return bool(self.file) or self.asked

    def new(self) -> str:
        """One to close a file with; typed twice. Raises Refusal."""
        return self._read(twice=True)

    def known(self) -> str:
        """The one that a file was closed with. Raises Refusal."""
        return self._read(twice=False)

    def _read(self, *, twice: bool) -> str:
        if self.file:
            return _sound(_from_file(self.file), self.file)
        if not sys.stdin.isatty():
            what = "a passphrase is needed, and there is no terminal to ask for it"
            raise Refusal(ExitCode.USAGE, what, hint=_WAYS)
        try:
            first = getpass.getpass("passphrase of the saved desktop: ")
            again = getpass.getpass("the same again: ") if twice else first
        except (EOFError, KeyboardInterrupt):
            raise Refusal(ExitCode.INTERRUPTED, "no passphrase was given", hint=_WAYS) from None
        if first != again:
            raise Refusal(ExitCode.USAGE, "the two passphrases are not the same", hint="once more")
        return _sound(first, "the passphrase")


def _from_file(name: str) -> str:
    try:
        if name == "-":
            raw = sys.stdin.buffer.readline(_MOST + 1)
        else:
            with user_path(name).open("rb") as file:
                _check_private(name, os.fstat(file.fileno()))
                raw = file.readline(_MOST + 1)
        return text_files.decoded(raw)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise Refusal(ExitCode.USAGE, f"{name}: the passphrase cannot be read: {why}", hint=_WAYS) from None


def _check_private(name: str, status: os.stat_result) -> None:
    """Raises Refusal for a file that others can read; a pipe is whoever's who has it."""
    if stat.S_ISREG(status.st_mode) and (status.st_mode & 0o077 or status.st_uid not in (0, os.getuid())):
        what = f"{name}: others can read the passphrase there, or have written it"
        raise Refusal(ExitCode.USAGE, what, hint=f"chmod 600 {name}")


def _sound(text: str, source: str) -> str:
    passphrase = text.removesuffix("\n").removesuffix("\r")
    if not passphrase or not passphrase.isprintable() or len(passphrase) > _MOST:
        what = f"{source}: is no passphrase: one line of 1 to {_MOST} printable characters"
        raise Refusal(ExitCode.USAGE, what, hint=_WAYS)
    return passphrase
