"""A list of commands: each line's words stay what they are, on both systems."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sevenlbd.base.errors import Refusal
from sevenlbd.outside.batch import command_list


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("solver.exe case.inp", ["solver.exe", "case.inp"]),
        ("solver.exe C:\\data\\case.inp", ["solver.exe", "C:\\data\\case.inp"]),
        ("a 'b c' \"d  e\"", ["a", "b c", "d  e"]),
        ("a '' b", ["a", "", "b"]),
        ('["a", "b \\"c", ""]', ["a", 'b "c', ""]),
        ("a # b", ["a", "#", "b"]),
    ],
)
def test_a_line_has_the_words_that_it_seems_to_have(line: str, words: list[str]) -> None:
    assert command_list.words(line) == words


@given(st.lists(st.text(), min_size=1))
def test_a_json_list_says_every_word(words: list[str]) -> None:
    assert command_list.words(json.dumps(words)) == words


def test_the_words_of_all_come_first_and_empty_lines_and_remarks_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "list").write_bytes("\ufeff# angles\r\n10\r\n\r\n20 x\r\n".encode())
    assert command_list.read(str(tmp_path / "list"), ["solve"]) == [("solve", "10"), ("solve", "20", "x")]


@pytest.mark.parametrize("end", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\r"])
def test_only_a_line_feed_ends_a_command(end: str, tmp_path: Path) -> None:
    text = json.dumps(["solve", f"a{end}b"], ensure_ascii=False) if end > "\x1f" else f"solve 'a{end}b'"
    (tmp_path / "list").write_bytes(f"{text}\nlast\n".encode())
    assert command_list.read(str(tmp_path / "list"), []) == [("solve", f"a{end}b"), ("last",)]


@pytest.mark.parametrize("text", ["", "# nothing\n", "a 'b\n", "[1]\n", "[]\n", '["a"\n', "[" * 100_000])
def test_what_is_no_list_is_refused_before_anything_starts(text: str, tmp_path: Path) -> None:
    (tmp_path / "list").write_text(text)
    with pytest.raises(Refusal, match="--list"):
        command_list.read(str(tmp_path / "list"), [])


def test_a_list_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="No such file"):
        command_list.read(str(tmp_path / "none"), [])
