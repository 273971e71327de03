"""The key of encrypted images: made once, changed, and to be had at each moment of a change, whatever ends it."""

from __future__ import annotations

import os
import secrets
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sevenlbd.base.errors import Refusal
from sevenlbd.config.settings import KeyPlace, Settings
from sevenlbd.outside.grid import image_key, key_sources
from sevenlbd.outside.grid.image_key import FileSource, GivenSource, ImageKey

_WRITES = ("open", "os.rename", "os.remove", "os.mkdir")


def given(kept: list[bytes]) -> GivenSource:
    """A source that keeps the key elsewhere."""
    return GivenSource("pool", lambda: kept[-1] if kept else b"", kept.append)


def killed_at(step: int, do: Callable[[], object]) -> bool:
    """Do it in a child that is killed just before its n-th change of a file; whether there were as many."""
    child = os.fork()
    if not child:
        left = [step]

        def on_event(event: str, arguments: tuple[object, ...]) -> None:
            writes = event != "open" or (isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR))
            if event in _WRITES and writes:
                left[0] -= 1
                if left[0] < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(on_event)
        try:
            do()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def test_it_is_made_once_and_for_its_user_alone(tmp_path: Path) -> None:
    place = tmp_path / "keys"
    made = ImageKey(place).make()
    assert ImageKey(place).make() == ImageKey(place).load() == made
    assert len(made) == image_key.LENGTH
    assert place.stat().st_mode & 0o777 == 0o700
    for path in place.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
        assert made not in path.read_bytes()
        assert made.hex() not in path.read_text()


def test_many_that_make_it_at_once_have_the_same(tmp_path: Path) -> None:
    place, children = tmp_path / "keys", []
    for number in range(8):
        child = os.fork()
        if not child:
            (tmp_path / str(number)).write_bytes(ImageKey(place).make())
            os._exit(0)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 8
    assert {(tmp_path / str(number)).read_bytes() for number in range(8)} == {ImageKey(place).load()}


def test_a_change_leaves_the_images_key_and_what_opened_it_before_opens_nothing(tmp_path: Path) -> None:
    key = ImageKey(tmp_path).make()
    before = (tmp_path / image_key.WRAPPING).read_bytes()
    ImageKey(tmp_path).change()
    assert ImageKey(tmp_path).load() == key
    assert (tmp_path / image_key.WRAPPING).read_bytes() != before
    (tmp_path / image_key.WRAPPING).write_bytes(before)
    with pytest.raises(Refusal, match="is not opened by the wrapping key"):
        ImageKey(tmp_path).load()


def test_a_change_that_is_killed_at_any_step_loses_nothing(tmp_path: Path) -> None:
    key, step = ImageKey(tmp_path).make(), 0
    while killed_at(step, lambda: ImageKey(tmp_path).change()):
        assert ImageKey(tmp_path).load() == key, step
        step += 1
    assert step >= 4
    ImageKey(tmp_path).change()
    assert ImageKey(tmp_path).load() == key


def test_a_making_that_is_killed_at_any_step_can_be_done_again(tmp_path: Path) -> None:
    for step in range(100):
        place = ImageKey(tmp_path / str(step))
        if not killed_at(step, place.make):
            break
        assert place.make() == place.load()
    assert 4 <= step < 99


def test_a_stolen_disk_is_worthless_when_the_key_is_given(tmp_path: Path) -> None:
    kept: list[bytes] = []
    key = ImageKey(tmp_path).make()
    ImageKey(tmp_path).change(given(kept))
    assert ImageKey(tmp_path, given(kept)).load() == key
    assert {path.name for path in tmp_path.iterdir()} == {image_key.KEY}
    with pytest.raises(Refusal, match="is gone"):
        ImageKey(tmp_path).load()
    with pytest.raises(Refusal, match="not opened"):
        ImageKey(tmp_path, given([secrets.token_bytes(image_key.LENGTH)])).load()


def test_a_key_that_is_lost_is_one_message_with_the_way_on(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="there is no key of encrypted images here") as told:
        ImageKey(tmp_path).load()
    assert "fetched anew" in (told.value.hint or "")
    ImageKey(tmp_path).make()
    (tmp_path / image_key.WRAPPING).chmod(0o644)
    with pytest.raises(Refusal, match="is not a file that only you can read"):
        ImageKey(tmp_path).load()
    ImageKey(tmp_path).forget()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"schema": 2, "slots": []}', '{"schema": 1, "slots": [1]}'])
def test_a_file_that_makes_no_sense_is_told_as_that(tmp_path: Path, content: str) -> None:
    ImageKey(tmp_path).make()
    (tmp_path / image_key.KEY).write_text(content)
    with pytest.raises(Refusal, match="cannot be used"):
        ImageKey(tmp_path).load()


def test_the_sites_program_keeps_it(tmp_path: Path) -> None:
    program, state = tmp_path / "program", tmp_path / "state"
    program.write_text(f"#!/bin/sh\ncase $1 in put) cat > {tmp_path}/tpm;; get) cat {tmp_path}/tpm;; esac\n")
    program.chmod(0o700)
    settings = Settings(state_dir=str(state), image_key_command=(str(program),))
    key = key_sources.own(settings, {}).make()
    assert key_sources.given(settings, {}) == key
    assert [path.name for path in key_sources.own(settings, {}).place.iterdir()] == [image_key.KEY]
    (tmp_path / "tpm").unlink()
    with pytest.raises(Refusal, match="ended with 1"):
        key_sources.given(settings, {})


def test_a_key_that_is_given_by_a_descriptor_goes_before_ones_own(tmp_path: Path) -> None:
    descriptor = os.memfd_create("key")
    os.write(descriptor, b"ab" * 32)
    settings = Settings(state_dir=str(tmp_path), image_key=f"/dev/fd/{descriptor}")
    assert key_sources.given(settings, {}) == bytes([0xAB]) * 32
    with pytest.raises(Refusal, match="has no key"):
        key_sources.given(Settings(image_key="/dev/null"), {})


def test_the_file_is_the_source_where_the_site_names_no_program(tmp_path: Path) -> None:
    here = {"HOME": str(tmp_path)}
    assert key_sources.wanted_place(Settings()) == KeyPlace.FILE
    assert key_sources.holder(Settings(), here) == KeyPlace.FILE
    assert isinstance(key_sources.source(Settings(), tmp_path, KeyPlace.FILE), FileSource)
