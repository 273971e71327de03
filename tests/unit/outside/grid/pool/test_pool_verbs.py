"""`grid pool` and what is below it: codes, the list, revocation, the unit; and a folder that others cannot get at."""

from __future__ import annotations

import configparser
import json
import re
from pathlib import Path

import pytest
from sevenlbd.base import atomic
from sevenlbd.base.errors import Refusal
from sevenlbd.config.tables import checked
from sevenlbd.outside.cli import command_line, verbs
from sevenlbd.outside.cli.command import CommandContext
from sevenlbd.outside.grid import enrolment
from sevenlbd.outside.grid.pool import codes, members, pool_folder
from sevenlbd.outside.site.pool_table import PoolTable


@pytest.fixture(autouse=True)
def home(state_folder: Path) -> Path:
    return state_folder / "grid-pool"


def call(*words: str) -> int:
    verb, options = command_line.parse(list(words))
    command = command_line.command(verb)
    assert command.call
    return command.call(CommandContext(options, 0o022))


def enrol(home: Path, name: str) -> None:
    place = pool_folder.prepared(home)
    members.Members(place, pool_folder.secret(place, pool_folder.KEY)).enrol(name, "10.0.0.1")


@pytest.mark.parametrize(
    ("words", "verb"),
    [
        (["grid", "pool"], "grid pool serve"),
        (["grid", "pool", "--listen", "127.0.0.1:0"], "grid pool serve"),
        (["grid", "pool", "list"], "grid pool list"),
        (["grid", "pool", "--help"], "grid pool"),
    ],
)
def test_without_a_word_more_it_serves(words: list[str], verb: str) -> None:
    found = verbs.find(verbs.complete(words))
    assert found
    assert found.name == verb


def test_a_code_is_a_line_to_be_typed_and_no_secret_is_kept(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call("grid", "pool", "code", "--number", "3")
    lines = capsys.readouterr().out.splitlines()
    assert len(set(lines)) == 3
    assert codes.waiting(home) == 3
    for line in lines:
        secret, _ = enrolment.parted(line.rpartition(" ")[2])
        assert line.startswith("7lbd grid enrol https://")
        assert not any(secret in path.read_text() for path in (home / "codes").iterdir())
        assert not (home / "codes" / secret).exists()
    assert codes.take(home, secret)
    assert not codes.take(home, secret)


def test_codes_of_one_pool_lead_to_one_key(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call("grid", "pool", "code")
    call("grid", "pool", "code")
    assert len({line.rpartition(".")[2] for line in capsys.readouterr().out.splitlines()}) == 1


@pytest.mark.parametrize("number", ["0", "-1", "100000"])
def test_so_many_codes_are_not_made(number: str) -> None:
    with pytest.raises(Refusal, match="--number"):
        call("grid", "pool", "code", "--number", number)


@pytest.mark.parametrize("hours", ["0", "-1", "nan", "inf", "1e+09"])
def test_a_code_that_is_good_for_no_time_or_for_ever_is_not_made(
    home: Path, capsys: pytest.CaptureFixture[str], hours: str
) -> None:
    with pytest.raises(Refusal, match=re.escape(f"--hours {hours}: ")):
        call("grid", "pool", "code", f"--hours={hours}")
    assert "enrol" not in capsys.readouterr().out


def test_who_is_enrolled_is_listed_and_sent_away(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    enrol(home, "lab-1")
    call("grid", "pool", "list")
    assert "lab-1  enrolled 20" in capsys.readouterr().out
    call("grid", "pool", "revoke", "lab-1", "--why", "stolen\x1b[31m")
    capsys.readouterr()
    call("grid", "pool", "list")
    listed = capsys.readouterr().out
    assert "REVOKED: stolen" in listed
    assert "\x1b" not in listed
    call("grid", "pool", "list", "--json")
    (row,) = json.loads(capsys.readouterr().out)
    assert row["revoked"].startswith("stolen")


@pytest.mark.parametrize("name", ["lab-2", "../../x", ""])
def test_a_machine_that_is_none_is_not_sent_away(home: Path, name: str) -> None:
    enrol(home, "lab-1")
    with pytest.raises(Refusal, match="no machine"):
        call("grid", "pool", "revoke", name)


def test_a_folder_that_others_get_at_is_not_used(home: Path) -> None:
    home.mkdir(parents=True)
    home.chmod(0o750)
    with pytest.raises(Refusal, match="others can get at"):
        call("grid", "pool", "code")


def test_what_is_secret_is_its_owners_alone(home: Path) -> None:
    call("grid", "pool", "code")
    for name in ("key", "admin-token", "pool.pem"):
        assert (home / name).stat().st_mode & 0o777 == 0o600
    assert home.stat().st_mode & 0o777 == 0o700


def test_a_list_that_was_spoilt_is_told(home: Path) -> None:
    pool_folder.prepared(home)
    (home / "machines.json").write_text("{")
    with pytest.raises(Refusal, match=r"machines\.json"):
        call("grid", "pool", "list")


def test_a_folder_has_one_service(home: Path) -> None:
    place = pool_folder.prepared(home)
    with pool_folder.served(place), pytest.raises(Refusal, match="another service"), pool_folder.served(place):
        pass


def test_what_mends_a_folder_is_an_option_that_there_is(home: Path) -> None:
    for hint in (pool_folder.unusable(home, OSError(28, "full")).hint, _of_another_service(home)):
        (option,) = re.findall(r"--[a-z-]+", hint)
        command_line.parse(["grid", "pool", option, "DIR"])


def _of_another_service(home: Path) -> str:
    place = pool_folder.prepared(home)
    with pool_folder.served(place), pytest.raises(Refusal) as refused, pool_folder.served(place):
        pass
    return refused.value.hint


def test_a_full_disk_is_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    call("grid", "pool", "code")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic, "replace", full)
    with pytest.raises(Refusal, match="No space left"):
        call("grid", "pool", "code")


def test_the_unit_is_one(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sevenlbd.base.heartbeat.user_name", lambda: "gridpool")
    call("render", "grid-pool-unit", "--command", "/apps/7lbd/7lbd")
    parser = configparser.ConfigParser(strict=True)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # its documentation says so
    parser.read_string(capsys.readouterr().out)
    assert parser["Service"]["ExecStart"] == "/apps/7lbd/7lbd grid pool"
    assert parser["Service"]["User"] == "gridpool"


@pytest.mark.parametrize("command", ["7lbd", "/a b", "/a%n", "/a\nUser=root", "/$HOME/x"])
def test_a_path_that_a_unit_would_read_otherwise_is_refused(command: str) -> None:
    with pytest.raises(Refusal, match="path from the root"):
        call("render", "grid-pool-unit", "--command", command)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("listen", "pool.example.org:1"), ("listen", "0.0.0.0"), ("collector", "a b:1"), ("names", ["a/b"]),
        ("images", ["../x"]), ("worker_identity", "startd"), ("worker_identity", "{secret}@x"), ("poll", "1s"),
        ("worker_lifetime", "5"), ("worker_identity", 'a"@b'), ("state", "relative"), ("unknown", 1),
    ],
)  # fmt: skip
def test_a_wrong_key_of_the_table_is_named(key: str, value: object) -> None:
    with pytest.raises(Refusal, match=key):
        checked(PoolTable, "pool", {key: value}, Path("7lbd.toml"))
