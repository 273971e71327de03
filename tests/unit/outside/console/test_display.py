"""What a person sees: a table that never shows more than was reached, and names shown as they are."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from sevenlbd.outside.access.credentials import Credentials, new_tokens
from sevenlbd.outside.console.display import Display
from sevenlbd.outside.console.json_lines import JsonLines
from sevenlbd.outside.console.live_table import Terminal
from sevenlbd.outside.console.plain_lines import Lines
from sevenlbd.wire.state import Phase, SessionState


def table(*path: Phase, image: str = "win11") -> list[str]:
    """The rows that stand on the screen after a session went `path`."""
    state = SessionState(
        id="a", user="u", host="h", image=image, accel="kvm", network="tap", pid=1, folder="/tmp/7lbd-1/a"
    )
    for phase in path:
        state.advance(phase)
    terminal = Terminal("")
    terminal._state = state
    screen = io.StringIO()
    Console(file=screen, width=120).print(terminal._table())
    return screen.getvalue().splitlines()


@pytest.mark.parametrize(
    ("path", "marks"),
    [
        ([], "▶"),
        ([Phase.BOOTING, Phase.GUEST_UP], "✔✔▶"),
        ([Phase.BOOTING, Phase.GUEST_UP, Phase.READY], "✔✔✔✔"),
        ([Phase.BOOTING, Phase.FAILED], "✔✘"),
        ([Phase.STOPPING], "✘"),
    ],
)
def test_the_table_marks_what_was_reached_and_no_more(path: list[Phase], marks: str) -> None:
    rows = table(*path)[2:]
    assert "".join(row.strip()[0] for row in rows if row.strip()[0] in "✔▶✘") == marks
    assert sum("0.0 s" in row for row in rows) == len(marks)


def test_a_name_with_brackets_is_shown_as_it_is() -> None:
    assert "[/bl]ank[red]" in table(image="[/bl]ank[red]")[0]


URL = "http://127.0.0.1:40123/"


def shown(display: Display, folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[str, Credentials]:
    """All that a session prints on its way to ready, and its secrets; they are made a moment after the folder."""
    secret = Credentials("user1", "a-password", "me", new_tokens())
    state = SessionState(
        id="a",
        user="u",
        host=os.uname().nodename,
        image="i",
        accel="kvm",
        network="tap",
        pid=1,
        folder=str(folder),
        url=URL,
    )
    display.update(state)
    secret.write(folder)
    display.update(state)
    for phase in (Phase.BOOTING, Phase.GUEST_UP, Phase.READY):
        state.advance(phase)
        display.update(state)
    display.ready(state)
    return capsys.readouterr().out, secret


@pytest.mark.parametrize("display", [Lines(""), JsonLines()])
def test_a_jobs_log_has_the_pages_address_and_no_key(
    display: Display, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, secret = shown(display, tmp_path, capsys)
    assert URL in text
    for key in (*secret.tokens.values(), secret.password, "#token"):
        assert key not in text


def test_a_log_tells_the_page_first_and_how_to_get_its_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, _ = shown(Lines(""), tmp_path, capsys)
    assert text.index(URL) < text.index("booting:") < text.index("connect a --session-dir")
    assert " --url\n" in text
    assert text.count(URL) == 2


def test_a_terminal_has_the_link_with_its_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, secret = shown(Terminal(""), tmp_path, capsys)
    link = f"{URL}#token={secret.tokens['desktop']}"
    assert link in text.partition("READY")[0].replace("\n", "")
    assert link in text.partition("READY")[2]
    assert secret.password not in text
    assert secret.tokens["console"] not in text


def test_programs_get_the_address_with_the_event(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    events = [json.loads(line) for line in shown(JsonLines(), tmp_path, capsys)[0].splitlines()]
    assert [event["url"] for event in events if event["event"] == "ready"] == [URL]


SAYS = """
import sys
from sevenlbd.outside.console.json_lines import JsonLines
from sevenlbd.outside.console.plain_lines import Lines
for display in (Lines(""), JsonLines()):
    display.warn("x")
    print(repr(display.unheard()), file=sys.stderr)
"""


def test_an_output_that_cannot_be_written_is_named_once_and_ends_nothing() -> None:
    """A job's log on a full disk, say: the page and `status` have the warning."""
    with Path("/dev/full").open("w") as full:
        call = [sys.executable, "-c", SAYS]
        done = subprocess.run(call, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    first, second, *_ = done.stderr.splitlines()
    assert first.startswith("'the output cannot be written (/dev/full: No space left on device)")
    assert second == "''"


def test_a_verb_whose_output_cannot_be_written_says_which(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        call = [sys.executable, "-m", "sevenlbd", "version"]
        done = subprocess.run(call, stdout=full, stderr=subprocess.PIPE, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 5
    assert done.stderr == "7lbd: /dev/full: No space left on device\n  7lbd doctor\n"
