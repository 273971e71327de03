"""A list of arguments as one line: Windows' processes get a line, and each takes it apart itself.

Most do as CommandLineToArgvW does (learn.microsoft.com, "Parsing C Command-Line Arguments"). cmd.exe has rules of its
own, and runs every batch file, so that an argument of one would be read as syntax (CVE-2024-24576): those get them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PureWindowsPath

from ...base.errors import ExitCode, Refusal

_MAX_LINE = 32766  # characters; CreateProcessW takes 32,767 with the zero at the end
_MAX_CMD_LINE = 8191  # characters; learn.microsoft.com, "Command prompt (Cmd.exe) command-line string limitation"
_BATCH = (".bat", ".cmd")
_PLAIN = frozenset("#$*+-./:?@\\_")  # what cmd.exe passes on as it is, beside letters and digits
# Expands to nothing: behind the first % it is no variable's name, and so the % stays one.
_NO_VARIABLE = "%%cd:~,"
# Extensions on and delayed expansion off, whatever the registry says; /d: nothing that the registry has run first.
_CMD = "cmd.exe /e:ON /v:OFF /d /s /c"


def line(command: Sequence[str]) -> str:
    """The command line. Raises Refusal for what no line can say."""
    for word in command:
        if "\0" in word:
            raise _refusal("an argument has a zero byte in it, which no command line can hold")
        if any("\ud800" <= c <= "\udfff" for c in word):
            raise _refusal("an argument is not UTF-8, and Windows has no bytes for it")
    if not command or not command[0]:
        raise _refusal("there is no command", hint="7lbd exec --image NAME -- PROGRAM ARGUMENTS")
    if '"' in command[0]:
        raise _refusal(f"{command[0]}: no program of Windows' has a quote in its name")
    if (told := _given_to_cmd(command)) is not None:
        return _within(f'{_CMD} "{told}"', _MAX_CMD_LINE)
    if PureWindowsPath(command[0].rstrip(" .")).suffix.lower() in _BATCH:
        return _within(f'{_CMD} "{_for_cmd(command)}"', _MAX_CMD_LINE)
    # The program's own name is taken apart by another rule: up to the next quote, and a backslash is one.
    return _within(" ".join([f'"{command[0]}"', *map(quoted, command[1:])]), _MAX_LINE)


def quoted(word: str) -> str:
    """An argument as CommandLineToArgvW gives it back: backslashes count double before a quote only."""
    if word and not any(c in ' \t\n\v"' for c in word):
        return word
    made, backslashes = '"', 0
    for c in word:
        if c == "\\":
            backslashes += 1
            continue
        made += "\\" * (backslashes * 2 + 1 if c == '"' else backslashes) + c
        backslashes = 0
    return made + "\\" * (backslashes * 2) + '"'


def _given_to_cmd(command: Sequence[str]) -> str | None:
    """What follows `cmd /c`: one word is a line of cmd's language, several are a program and its arguments."""
    if PureWindowsPath(command[0]).name.lower() not in ("cmd", "cmd.exe"):
        return None
    if len(command) < 3 or command[1].lower() != "/c":
        return None
    if len(command) > 3:
        return _for_cmd(command[2:])
    _check_one_line(command[2])
    return command[2]


def _for_cmd(words: Sequence[str]) -> str:
    for word in words:
        _check_one_line(word)
    return " ".join(map(_quoted_for_cmd, words))


def _quoted_for_cmd(word: str) -> str:
    """An argument that cmd.exe passes on as it is, and that a program behind it takes apart to the same."""
    quotes = not word or word.endswith("\\") or not all(c in _PLAIN or c.isalnum() or ord(c) > 127 for c in word)
    made, backslashes = "", 0
    for c in word:
        if c == '"':
            made += "\\" * backslashes + '"'
        elif c == "%":
            made += _NO_VARIABLE
        backslashes = backslashes + 1 if c == "\\" else 0
        made += c
    return f'"{made}{"\\" * backslashes}"' if quotes else made


def _check_one_line(word: str) -> None:
    if "\n" in word or "\r" in word:
        raise _refusal(
            "an argument has more than one line, and cmd.exe would take the second for a command",
            hint="write it to a file, and give its name",
        )


def _within(made: str, most: int) -> str:
    length = len(made.encode("utf-16-le")) // 2
    if length > most:
        raise _refusal(
            f"the command has {length} characters as Windows counts them, and it takes {most} at most",
            hint="write the arguments to a file, if the program takes one",
        )
    return made


def _refusal(what: str, *, hint: str = "") -> Refusal:
    return Refusal(ExitCode.USAGE, what, hint=hint)
