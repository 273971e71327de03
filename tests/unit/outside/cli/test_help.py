"""Pages of help: in groups, and readable on a narrow terminal."""

from __future__ import annotations

import re

import pytest
from sevenlbd.config.settings import Settings, extra, flag_of
from sevenlbd.outside.batch import exec_verb, verdict
from sevenlbd.outside.cli import command_line, run_options
from sevenlbd.outside.cli.verbs import VERBS

NARROW = 60


@pytest.mark.parametrize("columns", [NARROW, 100])
@pytest.mark.parametrize("name", ["", *(verb.name for verb in VERBS)])
def test_a_page_of_help_is_as_wide_as_the_terminal(name: str, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    page = command_line.build()[name].format_help()
    assert [line for line in page.splitlines() if len(line) > columns] == []
    # Nothing is torn that belongs together.
    assert not re.search(r"[a-z]-\n", page)


@pytest.mark.parametrize("name", ["", *(verb.name for verb in VERBS)])
def test_a_page_of_help_is_shown_on_the_narrowest_terminal(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "1")
    assert command_line.build()[name].format_help().startswith("usage:")


@pytest.mark.parametrize("name", ["", "image"])
def test_paragraphs_and_the_table_of_exit_codes_stay_apart(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(NARROW))
    page = command_line.build()[name].format_help()
    table = page.partition("exit codes:\n")[2].splitlines()
    assert [line for line in table if not re.match(r"  ( *\d+  | {5})\S", line)] == []
    assert "\n\n" in page.partition("usage:")[2]


def test_every_setting_of_a_session_stands_under_one_heading() -> None:
    grouped = [name for names in run_options.GROUPS.values() for name in names]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == {name for name in Settings.model_fields if not extra(name)["site"]}


def test_the_page_of_run_shows_its_headings_and_options_once() -> None:
    page = command_line.build()["run"].format_help()
    for title in run_options.GROUPS:
        assert page.count(f"\n{title}:\n") == 1
    for name in ("memory", "shares", "portals", "egress", "time_limit"):
        assert len(re.findall(rf"^  {flag_of(name)}[ ,]", page, re.MULTILINE)) == 1


def test_the_page_of_exec_shows_where_the_command_stands_and_which_exit_codes_are_not_its_own() -> None:
    page = command_line.build()["exec"].format_help()
    assert page.startswith("usage: 7lbd exec [OPTION ...] -- COMMAND [ARGUMENT ...]\n")
    told = page.partition("exit codes: the command's own, and\n")[2]
    assert set(re.findall(r"^ +(\d+) ", told, re.MULTILINE)) >= {str(int(code)) for code in verdict.OwnCode}
    assert set(exec_verb.EXIT_CODES) == {"123", "128+N", *(str(int(code)) for code in verdict.OwnCode)}
