"""What a person sees: a table that never shows more than was reached, and names shown as they are."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from sevenlbd.outside.display import Terminal
from sevenlbd.state import Phase, SessionState


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
