"""Whether a session is in its project's network: what the keeper says, and what people read."""

from __future__ import annotations

import pytest
from sevenlbd.outside.project import standing
from sevenlbd.wire.state import SessionState


def state(project: str = "lab") -> SessionState:
    return SessionState("s", "u", "h", "i", "kvm", "tap", 1, "/f", project=project)


def test_up_and_down_are_told_with_the_moment_of_the_change() -> None:
    here = state()
    assert standing.spelled(here) == "lab: not up yet"
    standing.hear(here, "down the server cannot be reached")
    assert standing.spelled(here).startswith("lab: DOWN since ")
    standing.hear(here, "up 10.77.0.11")
    since = here.project_since
    assert standing.spelled(here).startswith("lab: up since ")
    assert standing.spelled(here).endswith(", as 10.77.0.11")
    standing.hear(here, "up 10.77.0.12")
    assert here.project_since == since, "another address is no other standing"
    standing.hear(here, "down the server hangs up")
    assert (here.project_address, here.project_since > since) == ("", True)
    assert standing.spelled(here).endswith(": the server hangs up")


@pytest.mark.parametrize("text", ["", "up", "up \x1b[2J", "up nowhere", "sideways 10.77.0.1", "UP 10.77.0.1"])
def test_what_is_no_word_of_it_changes_nothing(text: str) -> None:
    here = state()
    standing.hear(here, text)
    assert (here.project_address, here.project_since) == ("", 0.0)


def test_a_session_without_a_network_has_none_whatever_is_said() -> None:
    here = state(project="")
    standing.hear(here, "up 10.77.0.11")
    assert here.project_address == ""


def test_a_reason_is_one_line_and_has_an_end() -> None:
    here = state()
    standing.hear(here, "down \x1b[31m" + "x" * 5000)
    assert here.project_trouble.isprintable()
    assert len(here.project_trouble) <= 210
