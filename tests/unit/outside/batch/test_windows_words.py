"""A list of arguments stays a list on Windows: taken apart as CommandLineToArgvW and cmd.exe do, it is the same."""

from __future__ import annotations

import json

import pytest
from sevenlbd.base.errors import Refusal
from sevenlbd.outside.batch import order, windows_words

ODD = (
    "",
    " ",
    "plain",
    "with space",
    'a "quoted" word',
    '"',
    '\\"',
    "\\",
    "C:\\Program Files\\x\\",
    "two\\\\ ",
    "%PATH%",
    "100%",
    "^",
    "a^b",
    "&calc",
    "|",
    "<>()!;,=",
    "tab\there",
    "größe 日本 🙂",
    "ends\\\\\\",
    'x\\\\"y',
)


def taken_apart(line: str) -> list[str]:
    """CommandLineToArgvW, from Microsoft's description: the program's name, then the arguments."""
    first, rest = line[1:].split('"', 1)
    words, word, within, i = [first], None, False, 0
    while i < len(rest):
        if rest[i] in " \t" and not within:
            if word is not None:
                words.append(word)
            word, i = None, i + 1
            continue
        word = word or ""
        count = len(rest[i:]) - len(rest[i:].lstrip("\\"))
        i += count
        if rest[i : i + 1] == '"':
            word += "\\" * (count // 2)
            if count % 2:
                word += '"'
            elif within and rest[i + 1 : i + 2] == '"':
                word, i = word + '"', i + 1
            else:
                within = not within
            i += 1
        else:
            word += "\\" * count
            if not count:
                word, i = word + rest[i], i + 1
    return words if word is None else [*words, word]


def as_cmd_passes_on(text: str) -> str:
    """What cmd.exe makes of a line: syntax outside of quotes is an error here, for nothing of a list may be syntax."""
    text = text.replace("%%cd:~,%", "%")
    within = False
    for c in text:
        if c == '"':
            within = not within
        assert within or c not in "&|<>^()!", f"{c} of {text} is syntax"
    return text


@pytest.mark.parametrize("word", ODD)
def test_an_argument_comes_out_as_it_went_in(word: str) -> None:
    assert taken_apart(windows_words.line(["solver.exe", word, "last"])) == ["solver.exe", word, "last"]


def test_all_of_them_at_once_stay_as_many() -> None:
    assert taken_apart(windows_words.line(["C:\\Program Files\\s.exe", *ODD])) == ["C:\\Program Files\\s.exe", *ODD]


@pytest.mark.parametrize("program", ["run.bat", "C:\\a b\\RUN.CMD", "run.bat ", "run.bat."])
@pytest.mark.parametrize("word", ODD)
def test_no_argument_of_a_batch_file_is_syntax(program: str, word: str) -> None:
    line = windows_words.line([program, word, "last"])
    prefix = 'cmd.exe /e:ON /v:OFF /d /s /c "'
    assert line.startswith(prefix)
    assert line.endswith('"')
    passed_on = as_cmd_passes_on(line[len(prefix) : -1])
    if not passed_on.startswith('"'):
        passed_on = f'"{passed_on.replace(" ", chr(34) + " ", 1)}'
    assert taken_apart(passed_on) == [program, word, "last"]


def test_one_word_behind_cmd_c_is_a_line_of_its_language() -> None:
    assert windows_words.line(["cmd", "/c", "a | b > %TEMP%\\c"]).endswith('/s /c "a | b > %TEMP%\\c"')


def test_several_words_behind_cmd_c_are_arguments() -> None:
    line = windows_words.line(["cmd.exe", "/C", "find", "a & b"])
    assert line.endswith('/s /c "find "a & b""')


@pytest.mark.parametrize(
    "command",
    [
        [],
        [""],
        ["a\0b"],
        ["a", "\udcff"],
        ['a"b.exe'],
        ["run.bat", "one\ntwo"],
        ["cmd", "/c", "one\r\ntwo"],
        ["a", "x" * 40_000],
        ["a.cmd", "x" * 9000],
    ],
)
def test_what_no_line_can_say_is_refused(command: list[str]) -> None:
    with pytest.raises(Refusal):
        windows_words.line(command)


def test_a_script_of_powershells_keeps_its_arguments() -> None:
    command = order.powershell("C:\\a b\\s.ps1", ['say "hi"', "", "$x; rm"])
    assert taken_apart(windows_words.line(command))[-4:] == ["C:\\a b\\s.ps1", 'say "hi"', "", "$x; rm"]
    with pytest.raises(Refusal, match=r"\.ps1"):
        order.powershell("s.txt", [])


@pytest.mark.parametrize("setting", ["", "=x", "A", "A B=c", "1A=b", "A\n=b", "é=b"])
def test_an_environment_that_is_none_is_refused(setting: str) -> None:
    with pytest.raises(Refusal):
        order.environment([setting])


def test_a_value_may_hold_anything_that_is_text() -> None:
    assert order.environment(["A=b=c\nd", "ProgramFiles(x86)="]) == {"A": "b=c\nd", "ProgramFiles(x86)": ""}


def test_a_zero_byte_in_a_value_is_refused() -> None:
    with pytest.raises(Refusal):
        order.Order(("x",), {"A": "b\0"}).text(windows=False)


def test_of_two_variables_that_windows_takes_for_one_the_last_counts() -> None:
    # Windows PowerShell's ConvertFrom-Json refuses an object that has both.
    command = order.Order(("x",), order.environment(["Path=1", "PATH=2"]))
    assert json.loads(command.text(windows=True))["environment"] == {"PATH": "2"}
    assert json.loads(command.text(windows=False))["environment"] == {"Path": "1", "PATH": "2"}
