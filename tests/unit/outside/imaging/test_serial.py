"""What an installation says on its serial line, however it comes, and whatever a guest writes there."""

from __future__ import annotations

from pathlib import Path

import pytest
from sevenlbd.outside.imaging import serial
from sevenlbd.wire import shared_files


class Heard:
    """A listener that reads when it is told to, and all that it told."""

    def __init__(self, session: Path) -> None:
        self.lines: list[str] = []
        self.failures = 0
        self.log = session / shared_files.SERIAL_LOG
        self.log.parent.mkdir()
        self.log.touch()
        self.listener = serial.SerialListener(self.lines.append, self._failed)
        self.listener.begin(session)

    def _failed(self) -> None:
        self.failures += 1

    def write(self, data: bytes) -> None:
        """As QEMU does: at the end."""
        with self.log.open("ab") as file:
            file.write(data)


@pytest.fixture
def heard(tmp_path: Path) -> Heard:
    return Heard(tmp_path)


def test_steps_are_told_in_order_and_noise_is_not(heard: Heard) -> None:
    heard.write(b"\x1b[2J\x1b[01;01HBdsDxe: loading\r\n7lbd: partitioning\r\n[  1.0] kernel: 7lbdx: no\r\n7lbd: copy")
    heard.write(b"ing\nlogin: ")
    heard.listener.end()
    assert heard.lines == ["partitioning", "copying"]
    assert heard.listener.last == "copying"
    assert heard.failures == 0


def test_the_first_error_ends_it_once(heard: Heard) -> None:
    heard.write(b"7lbd: error: no disk\n7lbd: error: and more\n")
    heard.listener.end()
    assert heard.listener.error == "no disk"
    assert heard.failures == 1


def test_what_a_terminal_would_obey_is_made_visible_and_short(heard: Heard) -> None:
    heard.write(b"7lbd: \x1b]0;title\x07 \xff\xfe " + b"x" * 5000 + b"\n")
    heard.listener.end()
    (line,) = heard.lines
    assert "\x1b" not in line
    assert "\x07" not in line
    assert len(line) < 500


def test_a_guest_that_prints_without_end_is_not_told_without_end(heard: Heard) -> None:
    heard.write(b"7lbd: again\n" * 3000)
    heard.listener.end()
    assert 0 < len(heard.lines) <= 1000


def test_a_log_that_is_begun_anew_is_read_from_its_beginning(heard: Heard) -> None:
    heard.write(b"7lbd: one\n" + b"x" * 1000)
    heard.listener._read()
    heard.log.write_bytes(b"\n7lbd: two\n")
    heard.listener.end()
    assert heard.lines == ["one", "two"]


def test_a_session_that_never_was_has_said_nothing(tmp_path: Path) -> None:
    listener = serial.SerialListener(lambda _line: None, lambda: None)
    listener.end()
    listener.begin(tmp_path / "nowhere")
    listener.end()
    assert (listener.last, listener.error) == ("", "")
