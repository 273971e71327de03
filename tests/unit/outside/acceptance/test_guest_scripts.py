"""What guests say by our scripts, hostile ones too; and what of it is passed on."""

from __future__ import annotations

import json
import os
import pwd
import socket

import pytest
from sevenlbd.outside.acceptance import guest_scripts, report, scrubbing
from sevenlbd.outside.acceptance.criteria.criterion import Result, fail, ok
from sevenlbd.outside.acceptance.criteria.node_facts import NodeFacts, gathered
from sevenlbd.wire.keeper import GuestAnswer


def test_lines_become_facts_and_the_rest_is_passed_over() -> None:
    printed = b"\xff\nseconds=12.5\ngroup=a\ngroup=b\nBAD NAME=x\n=y\nnonsense\n"
    found = guest_scripts.facts(GuestAnswer(1, 0, printed))
    assert found.number("seconds") == 12.5
    assert found.all("group") == ("a", "b")
    assert found.one("absent") is None
    assert set(found.values) == {"seconds", "group"}


def test_a_flood_and_escapes_are_bounded_and_harmless() -> None:
    printed = b"".join(b"x=\x1b[2J%d\n" % number for number in range(100_000)) + b"y=" + b"z" * 10_000
    found = guest_scripts.facts(GuestAnswer(1, 0, printed))
    assert len(found.all("x")) == 2000
    assert "\x1b" not in "".join(found.all("x"))
    assert found.one("y") is None


@pytest.mark.parametrize("said", [b"nan", b"inf", b"-inf", b"1e999", b"", b"1,5"])
def test_what_is_no_number_is_none_so_that_no_limit_holds_it(said: bytes) -> None:
    assert guest_scripts.facts(GuestAnswer(1, 0, b"seconds=" + said + b"\n")).number("seconds") is None


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (GuestAnswer(1, failure="the guest agent does not answer"), "does not answer"),
        (GuestAnswer(1, 127, b"", b"sh: not found\n"), "not found"),
        (GuestAnswer(1, 3, b"", b""), "ended with 3"),
    ],
)
def test_why_nothing_was_said_is_said(answer: GuestAnswer, why: str) -> None:
    assert why in guest_scripts.facts(answer).failure


@pytest.mark.parametrize("windows", [True, False])
def test_every_script_is_there_for_both_and_takes_no_value_that_needs_quotes(windows: bool) -> None:
    for name in ("account", "chance", "clock", "hygiene", "load", "machine", "restart"):
        assert guest_scripts.exists(name, windows=windows), name
    text = guest_scripts.script("account", {"account": "user1"}, windows=windows).decode()
    assert "'user1'" in text
    for hostile in ("a'; rm -rf /", "$(x)", "a\nb", "`x`"):
        with pytest.raises(ValueError, match="cannot be put"):
            guest_scripts.script("account", {"account": hostile}, windows=windows)


def test_neither_record_nor_report_holds_a_name_a_path_or_a_password() -> None:
    me, host = pwd.getpwuid(os.getuid()), socket.gethostname()
    hidden = scrubbing.words_to_hide({"HOME": me.pw_dir, "USER": me.pw_name}, "s3cret-password", "/images/win11")
    planted = (
        f"{me.pw_name} on {host} in {me.pw_dir}/x, /home/anna/y, s3cret-password, 52:54:00:12:34:56, /images/win11"
    )
    results = (Result("a.b", "about", fail(planted, planted, "none")), Result("a.c", "about", ok("fine")))
    made = report.record(
        report.Acceptance("win11", "1", "", "windows", "0.1", "2026", True, (), 60.0, gathered(), results),
        lambda text: scrubbing.scrubbed(text, hidden),
    )
    for text in (report.as_json(made), report.as_text(made)):
        words = [me.pw_name, me.pw_dir, "anna", "s3cret", "52:54:00", "/images/win11"]
        assert [word for word in words if len(word) > 3 and word in text] == []
    assert json.loads(report.as_json(made))["passed"] is False


def test_a_guests_words_stay_in_their_cell() -> None:
    results = (Result("a.b", "about", ok("a | b\n# Title <script>`x`", "v|w")),)
    node = NodeFacts(True, "", "v", "m", "", (), 1, "k")
    made = report.record(report.Acceptance("i", "", "", "linux", "0", "t", True, (), 1, node, results), str)
    (row,) = [line for line in report.as_text(made).splitlines() if line.startswith("| a.b")]
    assert "<script>" not in row
    assert row.replace("\\|", "").count("|") == 6


def test_secrets_are_hidden_whatever_stands_beside_them() -> None:
    secret = "aB3" * 8
    hidden = scrubbing.words_to_hide({}, secret)
    assert secret not in scrubbing.scrubbed(f"log: x{secret}y {secret}", hidden)


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ("/home/anna/.netrc", "<path>/.netrc"),
        ("/home/anna/thesis/.ssh/authorized_keys", "<path>/.ssh/authorized_keys"),
        ("/root/.netrc", "/root/.netrc"),
        ("C:\\Users\\Anna\\NTUSER.DAT", "C:\\Users\\<hidden>\\NTUSER.DAT"),
    ],
)
def test_whose_home_it_is_is_hidden_and_which_file_is_told(found: str, told: str) -> None:
    assert scrubbing.scrubbed(found, ()) == told
