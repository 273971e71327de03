"""The record of `run --join`: what is none is refused before anything begins, and no word of it is in what is said."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from sevenlbd.base.errors import Refusal
from sevenlbd.outside.grid import join_record
from sevenlbd.outside.grid.join_record import JoinRecord
from sevenlbd.wire.codec import Malformed

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJwb29sIn0.c2lnbmF0dXJl"
GOOD: dict[str, object] = {
    "collector": "cm.pool.example.edu:9618",
    "trust_domain": "pool.example.edu",
    "token": TOKEN,
    "vm_name": "worker",
    "machine": "lab-7",
    "slot": 2,
    "idle_seconds": 60,
    "attributes": {"SevenLbdOwner": "physics lab, room 3"},
}


def record(**changed: object) -> JoinRecord:
    return join_record.parsed(json.dumps({**GOOD, **changed}).encode())


def test_the_guest_gets_a_line_for_each_word_and_the_pools_address_instead_of_its_name() -> None:
    lines = record().for_guest("192.0.2.9", {"SevenLbdImage": "worker@1"}).splitlines()
    assert "collector=192.0.2.9:9618" in lines
    assert "attribute.SevenLbdImage=worker@1" in lines
    assert "attribute.SevenLbdOwner=physics lab, room 3" in lines
    assert f"token={TOKEN}" in lines
    assert "slot=2" in lines


def test_no_record_says_which_image_runs_but_the_session_itself() -> None:
    lines = record(attributes={"SevenLbdImage": "other"}).for_guest("192.0.2.9", {"SevenLbdImage": "worker@1"})
    assert lines.count("attribute.SevenLbdImage=") == 1
    assert "attribute.SevenLbdImage=worker@1\n" in lines


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("collector", "cm.pool.example.edu"),
        ("collector", "cm.pool.example.edu:0"),
        ("collector", "cm.pool.example.edu:65536"),
        ("collector", "cm:9618\nSTART = True"),
        ("collector", "cm/../:9618"),
        ("collector", "[::1:9618"),
        ("collector", "2001:db8::1:9618"),
        ("trust_domain", "a b"),
        ("trust_domain", "pool\nALLOW_WRITE = *"),
        ("token", "no token"),
        ("token", f"{TOKEN}\nvm_name=other"),
        ("token", f"{'a' * 9000}.b.c"),
        ("vm_name", "../../etc"),
        ("vm_name", 'worker" || true'),
        ("vm_name", "worker@../1"),
        ("machine", "lab 7"),
        ("machine", "$(UID)"),
        ("machine", "m" * 64),
        ("slot", 0),
        ("slot", 1 << 40),
        ("slot", "1"),
        ("slot", True),
        ("idle_seconds", -1),
        ("idle_seconds", 1 << 40),
        ("attributes", {"START": "True"}),
        ("attributes", {"SevenLbd": "x"}),
        ("attributes", {"SevenLbdX": 'x"\nSTART=True'}),
        ("attributes", {"SevenLbdX": "$(DOLLAR)"}),
        ("attributes", {"SevenLbdX": 7}),
        ("attributes", {f"SevenLbd{number}": "" for number in range(65)}),
        ("attributes", ["SevenLbdX"]),
        ("idel_seconds", 60),
    ],
)
def test_what_is_no_record_is_refused_and_none_of_its_words_is_repeated(name: str, value: object) -> None:
    with pytest.raises(Malformed) as caught:
        record(**{name: value})
    assert TOKEN not in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"[" * 60_000, b'{"collector": "a:1"}', b" " * (65 << 10)])
def test_what_is_not_even_json_of_a_records_size_is_refused(content: bytes) -> None:
    with pytest.raises(Malformed):
        join_record.parsed(content)


def test_the_token_is_in_no_text_of_a_record() -> None:
    assert TOKEN not in repr(record())


def test_a_record_comes_through_a_pipe_and_leaves_nothing_on_a_disk() -> None:
    given, writer = os.pipe()
    os.write(writer, json.dumps(GOOD).encode())
    os.close(writer)
    try:
        assert join_record.read(f"/dev/fd/{given}").machine == "lab-7"
    finally:
        os.close(given)


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "record"
    file.write_text(json.dumps(GOOD))
    file.chmod(0o644)
    with pytest.raises(Refusal, match="others can read the token"):
        join_record.read(str(file))
    file.chmod(0o600)
    assert join_record.read(str(file)).collector == GOOD["collector"]


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="cannot be read"):
        join_record.read(str(tmp_path / "none"))
