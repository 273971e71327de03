"""`grid enrol`: a code opens the pool once, leads to the right server alone, and leaves what is the user's alone."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pool_world
import pytest
from pool_world import Liar, answer
from sevenlbd.base.errors import ExitCode, Refusal
from sevenlbd.outside.cli import command_line
from sevenlbd.outside.cli.command import CommandContext
from sevenlbd.outside.grid import enrolment, membership

SECRET = "a" * 26


@pytest.fixture
def liar(tmp_path: Path) -> Iterator[Liar]:
    with pool_world.lying(pool_world.certificate(tmp_path)) as one:
        one.says = [answer({"machine": "lab-01", "token": "token-1"})]
        yield one


@pytest.fixture(autouse=True)
def home(state_folder: Path) -> Path:
    return state_folder / "grid"


def enrol(*words: str) -> int:
    _, options = command_line.parse(["grid", "enrol", *words])
    return enrolment.enrol(CommandContext(options, 0o022))


def test_a_machine_is_enrolled(liar: Liar, home: Path) -> None:
    assert enrol(liar.url, "--code", f"{SECRET}.{liar.pin}", "--machine", "my-lab") == ExitCode.OK
    assert b'"machine": "my-lab"' in liar.heard[0]
    assert SECRET.encode() in liar.heard[0]
    assert membership.read(home) == membership.Membership(liar.url, "lab-01", liar.pin)
    assert (home / "token").read_text() == "token-1\n"
    assert home.stat().st_mode & 0o777 == 0o700
    assert (home / "token").stat().st_mode & 0o777 == 0o600


def test_a_code_is_read_from_a_pipe_where_nobody_sees_it(liar: Liar, home: Path, tmp_path: Path) -> None:

    reading, writing = os.pipe()
    os.write(writing, f"{SECRET}.{liar.pin}\nmore".encode())
    os.close(writing)
    kept = os.dup(0)
    os.dup2(reading, 0)
    try:
        assert enrol(liar.url, "--code", "-") == ExitCode.OK
    finally:
        os.dup2(kept, 0)
        os.close(kept)
        os.close(reading)


@pytest.mark.parametrize("code", ["", "x", SECRET, f"{SECRET}.", f"{SECRET}.{'A' * 42}", f"a/b.{'A' * 43}", "a" * 999])
def test_a_code_that_is_none_goes_nowhere(liar: Liar, code: str) -> None:
    with pytest.raises(Refusal, match="no enrolment code"):
        enrol(liar.url, "--code", code or ".")
    assert liar.heard == []


def test_another_server_never_hears_the_code(liar: Liar, home: Path) -> None:
    with pytest.raises(Refusal, match="another server"):
        enrol(liar.url, "--code", f"{SECRET}.{'A' * 43}")
    assert liar.heard in ([], [b""])
    assert not (home / "token").exists()


def test_a_code_that_was_used_is_told(liar: Liar, home: Path) -> None:
    liar.says = [answer({"what": "this code was used", "mend": "ask for another"}, status="403 No")]
    with pytest.raises(Refusal, match="was used"):
        enrol(liar.url, "--code", f"{SECRET}.{liar.pin}")
    assert not (home / "machine.toml").exists()


def test_who_belongs_to_a_pool_does_not_leave_it_by_mistake(liar: Liar, home: Path) -> None:
    code = f"{SECRET}.{liar.pin}"
    enrol(liar.url, "--code", code)
    with pytest.raises(Refusal, match="already"):
        enrol(liar.url, "--code", code)
    liar.says = [answer({"machine": "lab-02", "token": "token-9"})]
    assert enrol(liar.url, "--code", code, "--again") == ExitCode.OK
    assert membership.read(home).machine == "lab-02"


@pytest.mark.parametrize(
    "said", [{"machine": "../x", "token": "t"}, {"machine": "x", "token": "a b"}, {"machine": "x"}, []]
)
def test_an_answer_that_makes_no_sense_leaves_nothing(liar: Liar, home: Path, said: Any) -> None:
    liar.says = [answer(said)]
    with pytest.raises(Refusal, match="no sense"):
        enrol(liar.url, "--code", f"{SECRET}.{liar.pin}")
    assert not (home / "machine.toml").exists()


def test_a_folder_that_others_get_at_is_not_used_and_the_code_stays_good(liar: Liar, home: Path) -> None:
    home.mkdir(parents=True, mode=0o755)
    home.chmod(0o755)
    with pytest.raises(Refusal, match="others can get at"):
        enrol(liar.url, "--code", f"{SECRET}.{liar.pin}")
    assert liar.heard == []


@pytest.mark.parametrize(
    ("node", "name"),
    [("Lab-01.Example.ORG", "lab-01.example.org"), ("a_b", "a-b"), ("---", "machine"), ("x" * 99, "x" * 63)],
)
def test_a_machine_has_a_name_of_its_own(node: str, name: str) -> None:
    assert enrolment.usual_name(node) == name


def test_nobody_has_to_say_a_thing_but_where_and_with_what() -> None:
    _, options = command_line.parse(["grid", "enrol", "https://pool", "--code", "x"])
    assert isinstance(options, argparse.Namespace)
    assert (options.machine, options.again) == ("", False)
