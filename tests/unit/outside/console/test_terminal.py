"""What others have written is shown on one line, harmless and bounded, wherever it is shown."""

from __future__ import annotations

import ast
import io
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import sevenlbd
from conftest import MakeQcow2
from sevenlbd.base import logs
from sevenlbd.base.errors import ExitCode, Refusal, visible
from sevenlbd.images.lookup import image as images
from sevenlbd.outside.checks import doctor
from sevenlbd.outside.console import terminal
from sevenlbd.outside.console.display import Display
from sevenlbd.outside.console.json_lines import JsonLines
from sevenlbd.outside.console.live_table import Terminal
from sevenlbd.outside.console.plain_lines import Lines
from sevenlbd.outside.presence import records
from sevenlbd.wire import state
from sevenlbd.wire.keeper import EVENTS, EventKind
from sevenlbd.wire.state import SessionState

RUNTIME = Path(sevenlbd.__file__).parent
# C0, C1, a line of ours, escape sequences, changes of direction, line ends, what is not seen, half a character.
EVIL = (
    "a\n7lbd: your key has expired: http://elsewhere.example/\r\x1b[2J\x1b]0;t\x07\x9b31m\x7f\x00\u202eb\u2066c\u2069"
    "\u2028\u2029\u200b\ufeff\u00ad\u3164\u034f\ufe0f\ud800"
)
NASTY = [c for c in EVIL if not ("!" <= c <= "~" or c == " ")]


def harmless(text: str) -> bool:
    """Whether nothing of EVIL is in it as it was; line ends of our own are not counted."""
    forged = any(line.startswith("7lbd: your key") for line in text.splitlines())
    return not forged and not any(c in text for c in NASTY if c != "\n")


def test_nothing_nasty_stays_and_nothing_good_goes() -> None:
    shown = visible(EVIL)
    assert harmless(shown)
    assert "\n" not in shown
    shown.encode()
    assert visible("Grüße, 世界 😀 é") == "Grüße, 世界 😀 é"
    assert "\\u0301" in visible("e" + "\u0301" * 100)
    assert len(visible("x" * 10**6)) < 5000


def test_a_line_stays_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.say(EVIL, "second")
    terminal.warn(EVIL)
    terminal.say_json({"name": EVIL})
    out, err = capsys.readouterr()
    assert len(out.split("\n")) == 2 + 3 + 1
    assert harmless(out)
    assert err.count("\n") == 1
    assert harmless(err)
    assert out.isascii()


def test_only_one_module_writes_to_the_terminal() -> None:
    """`print` and the streams are for `terminal` alone; programs that answer a parent of ours are named here."""
    answers = {
        *("outside/access/certificates.py", "images/media/setup_media.py", "images/encryption/maker.py"),
        *("outside/rdp_client/__main__.py", "outside/acceptance/inside_look.py"),
    }
    found = []
    for path in RUNTIME.rglob("*.py"):
        name = str(path.relative_to(RUNTIME))
        for node in ast.walk(ast.parse(path.read_text())):
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if called == "print" or called.startswith(("sys.stdout.write", "sys.stderr.write", "logging.basicConfig")):
                found.append((name, called))
    assert {name for name, _ in found} <= answers | {"base/logs.py"}, found


def test_what_is_printed_as_it_is_is_a_file_that_was_asked_for() -> None:
    whole = {
        "outside/commands/node_verbs.py",
        "outside/cli/completion.py",
        "outside/job/condor_node.py",
        "outside/job/rendering.py",
        *("outside/grid/coordinator/unit_file.py", "outside/grid/pool/pool_unit.py"),
        "outside/console/terminal.py",
    }
    for path in RUNTIME.rglob("*.py"):
        name = str(path.relative_to(RUNTIME))
        if name not in whole:
            assert "terminal.write(" not in path.read_text(), name


def evil_state() -> SessionState:
    return SessionState("a1", EVIL, EVIL, EVIL, "tcg", "tap", 1, "/tmp/x", warnings=[EVIL], reason=EVIL, hint=EVIL)


def test_an_images_name_and_a_disks_file_name(tmp_path: Path, make_qcow2: MakeQcow2) -> None:
    folder = tmp_path / "image"
    folder.mkdir()
    disk = make_qcow2(folder / "disk.qcow2")
    text = json.dumps(EVIL.replace("\x7f", "").replace("\ud800", ""), ensure_ascii=True)
    (folder / "image.toml").write_text(f"os = 'linux'\nname = {text}\n")
    assert harmless(images.from_folder(folder).title)
    bare = disk.rename(tmp_path / "a\n7lbd: your key\x1b[8m.qcow2")
    assert harmless(images.resolve(str(bare), []).title)


def test_a_record_that_another_node_or_a_guest_left(tmp_path: Path) -> None:
    path = tmp_path / "session.json"
    evil_state().write(path)
    found = state.read(path)
    for text in (found.user, found.host, found.image, found.warnings[0], found.reason, found.hint):
        assert harmless(text)
        assert "\n" not in text


@pytest.mark.parametrize(
    "forged",
    [
        {"warnings": "text"}, {"warnings": [1]}, {"phases": {"ready": "soon"}}, {"started": "now"}, {"id": 7},
        {"started": 1e999}, {"job": ["1"]}, {"console": "yes"}, {"milestones": []}, {"pid": True},
    ],
)  # fmt: skip
def test_a_record_of_another_kind_is_none(tmp_path: Path, forged: dict[str, object]) -> None:
    path = tmp_path / "session.json"
    evil_state().write(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | forged))
    with pytest.raises(ValueError, match="is not a session's state"):
        state.read(path)


def as_link(path: Path) -> None:
    path.symlink_to("real")


def endless(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 40)


def deep(path: Path) -> None:
    path.write_text("[" * 100_000)


@pytest.mark.parametrize("make", [as_link, os.mkfifo, endless, deep, Path.mkdir])
def test_a_record_that_is_no_small_file_is_none(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "session.json"
    evil_state().write(tmp_path / "real")
    make(path)
    with pytest.raises((OSError, ValueError)):
        state.read(path)


def test_a_key_that_a_guest_could_have_left_is_none(tmp_path: Path) -> None:
    (tmp_path / "connection").write_text("token=\x1b[2J\nconsole_token=../../x\nstatus_token=k" + "a" * 52 + "\n")
    assert records.tokens(tmp_path) == {"status": "k" + "a" * 52}


def test_what_the_keeper_tells() -> None:
    event = EVENTS.unpack_or_none(json.dumps({"kind": EventKind.WARNING, "text": EVIL, "hint": EVIL}).encode())
    assert event
    assert harmless(event.text + event.hint)
    assert "\n" not in event.text


SHOWS: list[Callable[[], Display]] = [lambda: Lines("sif"), JsonLines]


@pytest.mark.parametrize("show", SHOWS)
def test_what_a_jobs_log_gets(show: Callable[[], Display], capsys: pytest.CaptureFixture[str]) -> None:
    shown = show()
    found = evil_state()
    shown.update(found)
    shown.warn(EVIL)
    shown.note(EVIL)
    shown.ready(found)
    shown.kept(Path("/tmp/" + EVIL.replace("\0", "")))
    shown.finished(found)
    out, err = capsys.readouterr()
    assert harmless(out + err)


def test_what_a_terminal_gets(capsys: pytest.CaptureFixture[str]) -> None:
    shown = Terminal("sif")
    shown.update(evil_state())
    shown.warn(EVIL)
    shown.note(EVIL)
    shown.refused(Refusal(ExitCode.USAGE, EVIL))
    assert not any(c in capsys.readouterr().out for c in "\u202e\u2066\x9b\x07")


def test_what_the_doctor_finds() -> None:
    assert harmless(doctor.report([doctor.Finding(EVIL, "ok", EVIL, EVIL)], colour=False))


def test_a_refusal() -> None:
    assert harmless(str(Refusal(ExitCode.USAGE, EVIL, hint=EVIL)))


def test_a_programs_own_log() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.LogLines())
    record = logging.LogRecord("x", logging.INFO, "", 0, "it said %s", (EVIL,), None)
    handler.emit(record)
    assert stream.getvalue().count("\n") == 1
    assert harmless(stream.getvalue())
