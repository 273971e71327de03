"""What a user pastes at home: a port of each session's own, and words that POSIX shells and cmd.exe take for one."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sevenlbd.base.rdp_file import FIRST_PORT, PORTS, local_port, pasted, rdp_file
from sevenlbd.outside.console import instructions
from sevenlbd.wire.state import SessionState


def test_two_sessions_have_two_ports() -> None:
    names = [f"job{number}" for number in range(4711, 4741)] + ["job4711-2", "job4711-3"]
    ports = {local_port(name) for name in names}
    assert len(ports) >= len(names) - 2, "one of a thousand each"
    assert all(FIRST_PORT <= port < FIRST_PORT + PORTS <= 1 << 15 for port in ports)
    assert local_port("job4711") == local_port("job4711")
    assert f"full address:s:127.0.0.1:{local_port('a')}\r\n" in rdp_file("user1", local_port("a"))


def session(name: str, folder: str = "/s") -> SessionState:
    return SessionState(
        id=name, user="me", host="node17", image="i", accel="kvm", network="tap", pid=1, folder=f"{folder}/{name}",
        console=True,
    )  # fmt: skip


def test_connect_for_two_sessions_shows_lines_that_can_run_at_the_same_time() -> None:
    ways = (instructions.ssh_line, instructions.web_line, instructions.console_line)
    ports = [way(session(name)).partition("-L ")[2].partition(":")[0] for name in ("job7", "job8") for way in ways]
    assert len(set(ports)) == 6


@pytest.mark.parametrize(
    ("word", "quoted"),
    [
        ("/s/a", "/s/a"),
        ("/my desk/a", '"/my desk/a"'),
        ("it's", '"it\'s"'),
        ("", '""'),
        ("é", '"é"'),
        ("a&b|c", '"a&b|c"'),
    ],
)
def test_a_word_to_paste_has_no_single_quotes_around_it(word: str, quoted: str) -> None:
    assert pasted(word) == quoted


@given(st.text(st.characters(exclude_characters="\0\n", exclude_categories=["Cs"]), max_size=40))
def test_a_posix_shell_reads_what_was_meant(word: str) -> None:
    told = subprocess.run(["dash", "-c", f"printf %s {pasted(word)}"], capture_output=True, check=True).stdout
    assert told.decode() == word
