"""The key that the pool keeps: from enrolment on no disk of the machine has it, and what happens to it is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pool_service
import pool_world
import pytest
from pool_service import RunningService
from sevenlbd.base.errors import ExitCode, Refusal
from sevenlbd.config.settings import KeyPlace, Settings
from sevenlbd.outside.cli import command_line
from sevenlbd.outside.cli.command import CommandContext
from sevenlbd.outside.grid import enrolment, key_sources, membership, rekeying
from sevenlbd.outside.grid.client import MachineBarred, PoolGone, PoolLied
from sevenlbd.outside.grid.pool import codes, members
from sevenlbd.outside.grid.protocol import MachineKey

AUTO = Settings()


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[RunningService]:
    with pool_service.serving_pool(tmp_path) as service:
        yield service


@pytest.fixture(autouse=True)
def home(state_folder: Path) -> Path:
    return state_folder / "grid"


def here(home: Path) -> dict[str, str]:
    return {"HOME": str(home.parents[3])}


def call(*words: str) -> int:
    _, options = command_line.parse(["grid", *words])
    verb = {"enrol": enrolment.enrol, "rekey": rekeying.rekey}[words[0]]
    return verb(CommandContext(options, 0o022))


def enrol(pool: RunningService, *words: str) -> int:
    return call("enrol", pool.url, "--code", f"{codes.make(pool.state, 60.0)}.{pool.pin}", "--machine", "lab", *words)


def on_disk(home: Path) -> bytes:
    return b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())


def revoke(pool: RunningService, name: str = "lab") -> None:
    members.revoke(pool.state, members.load(pool.state)[name], "stolen")


def test_a_key_that_the_pool_keeps_is_on_no_disk_of_the_machine(
    pool: RunningService, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert enrol(pool, "--image-key-source", "pool") == ExitCode.OK
    assert "kept by the pool, and here in memory alone" in capsys.readouterr().out
    key = key_sources.given(AUTO, here(home))
    (wrapping,) = (pool.state / "keys").iterdir()
    assert [path.name for path in (home / "keys").iterdir()] == ["image-key.json"]
    for secret in (key, bytes.fromhex(wrapping.read_text())):
        assert secret not in on_disk(home)
        assert secret.hex().encode() not in on_disk(home)


def test_a_stolen_disk_is_worthless_as_soon_as_its_machine_is_revoked(pool: RunningService, home: Path) -> None:
    enrol(pool, "--image-key-source", "pool")
    key_sources.given(AUTO, here(home))
    revoke(pool)
    with pytest.raises(MachineBarred, match="stolen"):
        key_sources.given(AUTO, here(home))
    assert list((pool.state / "keys").iterdir()) == []


def test_who_enrols_anew_keeps_the_key_in_the_new_enrolment(pool: RunningService, home: Path) -> None:
    enrol(pool, "--image-key-source", "pool")
    key = key_sources.given(AUTO, here(home))
    assert enrol(pool, "--again") == ExitCode.OK
    assert membership.read(home).machine == "lab-2"
    assert key_sources.given(AUTO, here(home)) == key


def test_who_enrols_anew_after_a_revocation_gets_a_new_key_and_is_told(
    pool: RunningService, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    enrol(pool, "--image-key-source", "pool")
    key = key_sources.given(AUTO, here(home))
    revoke(pool)
    assert enrol(pool, "--again", "--image-key-source", "pool") == ExitCode.OK
    assert "is lost, and they are fetched anew" in capsys.readouterr().err
    assert key_sources.given(AUTO, here(home)) != key


def test_a_key_moves_to_the_pool_and_back_and_stays_the_same(pool: RunningService, home: Path) -> None:
    enrol(pool)
    key = key_sources.given(AUTO, here(home))
    assert (home / "keys" / "wrapping-key").exists()
    call("rekey", "--image-key-source", "pool")
    assert not (home / "keys" / "wrapping-key").exists()
    assert key_sources.given(AUTO, here(home)) == key
    first = next((pool.state / "keys").iterdir()).read_text()
    call("rekey")
    assert next((pool.state / "keys").iterdir()).read_text() != first, "it stays where it is, and is another"
    assert key_sources.given(AUTO, here(home)) == key
    call("rekey", "--image-key-source", "file")
    revoke(pool)
    assert key_sources.given(AUTO, here(home)) == key


def test_a_coordinator_moves_it_to_where_the_site_says(pool: RunningService, home: Path) -> None:
    enrol(pool)
    key = key_sources.given(AUTO, here(home))
    site = Settings(image_key_source=KeyPlace.POOL)
    assert key_sources.holder(site, here(home)) == "pool"
    assert key_sources.of_coordinator(site, here(home)) == key
    assert [path.name for path in (home / "keys").iterdir()] == ["image-key.json"]
    assert key_sources.given(AUTO, here(home)) == key


def test_a_pool_that_is_away_is_waited_for_and_loses_nothing(tmp_path: Path, home: Path) -> None:
    with pool_service.serving_pool(tmp_path) as pool:
        enrol(pool, "--image-key-source", "pool")
        key = key_sources.given(AUTO, here(home))
    before = on_disk(home / "keys")
    with pytest.raises(PoolGone):
        key_sources.given(AUTO, here(home))
    assert on_disk(home / "keys") == before
    with pool_service.serving_pool(tmp_path) as pool:
        there = membership.read(home)
        membership.write(home, membership.Membership(pool.url, there.machine, there.pin), (home / "token").read_text())
        assert key_sources.given(AUTO, here(home)) == key


@pytest.mark.parametrize(
    ("said", "trouble", "words"),
    [
        (MachineKey("0" * 64), Refusal, "is not opened by the wrapping key that `pool` has"),
        ({"key": "0"}, PoolLied, "makes no sense"),
        ({"key": ["0" * 64]}, PoolLied, "makes no sense"),
    ],
)
def test_a_service_that_lies_opens_nothing_and_breaks_nothing(
    pool: RunningService, home: Path, tmp_path: Path, said: Any, trouble: type[Exception], words: str
) -> None:
    enrol(pool, "--image-key-source", "pool")
    key = key_sources.given(AUTO, here(home))
    true = membership.read(home)
    with pool_world.lying(pool_world.certificate(tmp_path)) as liar:
        liar.says = [pool_world.answer(said if isinstance(said, dict) else vars(said))]
        token = (home / "token").read_text()
        membership.write(home, membership.Membership(liar.url, true.machine, liar.pin), token)
        with pytest.raises(trouble, match=words):
            key_sources.of_coordinator(AUTO, here(home))
    membership.write(home, true, token)
    assert key_sources.given(AUTO, here(home)) == key


def test_a_pool_that_is_gone_before_it_keeps_the_key_is_told_and_the_coordinator_makes_up_for_it(
    pool: RunningService, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PoolGone("the pool's service is away")

    with monkeypatch.context() as broken:
        broken.setattr("sevenlbd.outside.grid.client.PoolClient.key", refuse)
        assert enrol(pool, "--image-key-source", "pool") == ExitCode.OK
    assert "is not kept by the pool yet" in capsys.readouterr().err
    assert not (home / "keys" / "image-key.json").exists()
    site = Settings(image_key_source=KeyPlace.POOL)
    assert key_sources.of_coordinator(site, here(home)) == key_sources.given(AUTO, here(home))


def test_one_that_is_lost_is_given_up_by_a_command_whatever_kept_it(pool: RunningService, home: Path) -> None:
    enrol(pool, "--image-key-source", "pool")
    (home / "keys" / "image-key.json").write_text("{")
    with pytest.raises(Refusal, match="cannot be used"):
        key_sources.given(AUTO, here(home))
    assert call("rekey", "--forget") == ExitCode.OK
    assert list((home / "keys").iterdir()) == []


def test_a_program_that_is_not_set_any_more_is_told(home: Path, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ncase $1 in put) cat > {tmp_path}/kept;; get) cat {tmp_path}/kept;; esac\n")
    program.chmod(0o700)
    key_sources.own(Settings(image_key_command=(str(program),)), here(home)).make()
    with pytest.raises(Refusal, match="kept by a program of the site's, and none is set"):
        key_sources.given(AUTO, here(home))


def test_who_enrols_anew_while_the_old_pool_is_away_is_told_what_that_costs_and_keeps_the_code(
    tmp_path: Path, home: Path
) -> None:
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    with pool_service.serving_pool(tmp_path / "old") as old:
        enrol(old, "--image-key-source", "pool")
    with pool_service.serving_pool(tmp_path / "new") as new:
        with pytest.raises(Refusal, match="the key of encrypted images: the pool's service at") as told:
            enrol(new, "--again")
        assert "rekey --forget" in (told.value.hint or "")
        assert codes.waiting(new.state) == 1
        call("rekey", "--forget")
        assert enrol(new, "--again", "--image-key-source", "pool") == ExitCode.OK
        assert key_sources.given(AUTO, here(home))


def test_a_machine_that_knows_no_pool_any_more_enrols_with_a_new_key(
    pool: RunningService, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    enrol(pool, "--image-key-source", "pool")
    key = key_sources.given(AUTO, here(home))
    (home / "machine.toml").unlink()
    assert enrol(pool, "--image-key-source", "pool") == ExitCode.OK
    assert "is lost, and they are fetched anew" in capsys.readouterr().err
    assert key_sources.given(AUTO, here(home)) != key
