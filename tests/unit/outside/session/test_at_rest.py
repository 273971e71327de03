"""What an encrypted session keeps from the node's disks, and what it says that it cannot."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from sevenlbd.base import core_dumps
from sevenlbd.config.settings import Settings
from sevenlbd.inside.vm import qemu
from sevenlbd.outside.saved.messages import InMemory
from sevenlbd.outside.session import held_memory
from sevenlbd.outside.session.preflight import at_rest
from sevenlbd.outside.session.preflight.remarks import Remarks
from sevenlbd.wire import shared_files
from sevenlbd.wire.plan import PLANS, Layer
from test_qemu import PLAN

KEY, LAYER_KEY = "ab" * 32, "cd" * 32
ENCRYPTED = replace(PLAN, disk_key=KEY, layer_keys={PLAN.layers[0].path: LAYER_KEY})


def command(**pipes: int) -> list[str]:
    fds = qemu.Descriptors(3, 4, 5, None, {name.replace("_", "-"): fd for name, fd in pipes.items()}, (11, 12, 13))
    return qemu.command(ENCRYPTED, fds, (), io_uring=False)


def nodes(words: list[str]) -> dict[str, dict[str, object]]:
    told = [json.loads(words[at + 1]) for at, word in enumerate(words) if word == "-blockdev"]
    return {node["node-name"]: node for node in told}


def test_the_machines_disks_are_opened_by_keys_that_stand_in_no_argument() -> None:
    words = command(overlay_key=9, layer0_key=10)
    assert nodes(words)["overlay"]["encrypt"] == {"format": "luks", "key-secret": "overlay-key"}
    layer = nodes(words)["layer0"]["file"]
    assert isinstance(layer, dict)
    assert (layer["driver"], layer["key-secret"]) == ("luks", "layer0-key")
    assert "secret,id=overlay-key,format=raw,file=/proc/self/fd/9" in words
    assert KEY not in " ".join(words)
    assert LAYER_KEY not in " ".join(words)
    assert qemu.keys(ENCRYPTED) == {"overlay-key": KEY, "layer0-key": LAYER_KEY}


def test_its_memory_is_what_is_held_outside_and_in_no_dump() -> None:
    words = command(overlay_key=9, layer0_key=10)
    assert any(word.startswith("memory-backend-file,id=ram") and word.endswith("share=on") for word in words)
    assert any("dump-guest-core=off" in word for word in words)
    assert {3, 9, 11, 12, 13} <= set(qemu.Descriptors(3, 4, 5, None, {"k": 9}, (11, 12, 13)).numbers())


def test_a_session_that_is_not_encrypted_has_the_command_that_it_had() -> None:
    assert qemu.keys(PLAN) == {}
    words = qemu.command(PLAN, qemu.Descriptors(3, 4, 5, None), (), io_uring=False)
    assert "encrypt" not in nodes(words)["overlay"]
    assert not any("secret" in word or "dump-guest-core" in word for word in words)


def test_no_file_of_the_nodes_is_for_what_the_guest_shows_or_has_in_memory() -> None:
    names = set(shared_files.of(ENCRYPTED))
    assert not names & {*shared_files.IN_MEMORY, *shared_files.KEPT_INSIDE}
    assert {shared_files.STATE, shared_files.SERIAL_LOG} <= set(shared_files.of(PLAN))


def test_what_is_in_memory_has_no_name_and_the_machines_size() -> None:
    with held_memory.made(ENCRYPTED) as held:
        told = held_memory.told(held)
        assert isinstance(told, InMemory)
        assert os.fstat(told.memory).st_size == ENCRYPTED.guest.memory
        assert all(os.fstat(number).st_nlink == 0 for number in told.numbers())
    with held_memory.made(PLAN) as held:
        assert held_memory.told(held) is None


def test_a_key_is_shown_by_no_accident() -> None:
    assert KEY not in repr(ENCRYPTED)
    assert LAYER_KEY not in repr(ENCRYPTED)
    assert PLANS.unpack(PLANS.pack(ENCRYPTED)) == ENCRYPTED


@pytest.mark.parametrize(
    ("swaps", "told"),
    [("Filename\n", 0), ("Filename\n/dev/zram0 partition 1 2 3\n", 0), ("Filename\n/dev/sda2 partition 1 2 3\n", 1)],
)
def test_swap_is_told_of_to_who_wants_encryption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swaps: str, told: int
) -> None:
    (tmp_path / "swaps").write_text(swaps)
    monkeypatch.setattr(at_rest, "_SWAPS", tmp_path / "swaps")
    for encrypt in (True, False):
        remarks = Remarks()
        at_rest.check(Settings(encrypt=encrypt), (), remarks)
        assert len(remarks.warnings) == (told if encrypt else 0)
    monkeypatch.setattr(at_rest, "_SWAPS", tmp_path / "none")
    at_rest.check(Settings(encrypt=True), (), Remarks())


@pytest.mark.parametrize("encrypt", [True, False])
def test_who_has_it_saved_every_so_often_is_told_that_it_stands_still_for_that(encrypt: bool) -> None:
    remarks = Remarks()
    at_rest.check(Settings(encrypt=encrypt, checkpoint_every=60.0), (), remarks)
    assert any("stands still" in text and "checkpoint_every" in text for text in remarks.warnings) == encrypt


def test_each_session_has_a_key_of_its_own_and_one_of_an_encrypted_image_has_one() -> None:
    first, second = (at_rest.disk_key(Settings(encrypt=True), {}) for _ in range(2))
    assert first != second
    assert at_rest.disk_key(Settings(), {}) == ""
    assert at_rest.disk_key(Settings(), {"layer": KEY})


def test_no_process_of_it_leaves_a_dump(in_child: Callable[[Callable[[], bool]], bool]) -> None:
    def limited() -> bool:
        core_dumps.leave_none()
        return resource.getrlimit(resource.RLIMIT_CORE) == (1, 1)

    assert in_child(limited)


@pytest.fixture
def in_child() -> Callable[[Callable[[], bool]], bool]:
    """Runs something whose effect stays in a process of its own."""

    def run(do: Callable[[], bool]) -> bool:
        child = os.fork()
        if not child:
            os._exit(0 if do() else 1)
        return os.waitpid(child, 0)[1] == 0

    return run


def test_a_layer_is_told_by_its_path() -> None:
    other = replace(ENCRYPTED, layers=(Layer("/somewhere/else", "qcow2"), *ENCRYPTED.layers))
    assert qemu.keys(other) == {"overlay-key": KEY, "layer1-key": LAYER_KEY}
