"""File names cross both ways: any bytes, and the letters that Windows forbids."""

from __future__ import annotations

import random
import re
import subprocess

import pytest
from sevenlbd.inside.services import filenames
from sevenlbd.wire.inner_files import WITH_CHARSET


def converted(what: bytes, *, source: str, target: str) -> bytes:
    """By the appliance's iconv, with the character set as smbd finds it."""
    command = [*WITH_CHARSET, "/usr/bin/iconv", f"--from-code={source}", f"--to-code={target}"]
    return subprocess.run(command, input=what, capture_output=True, check=True).stdout


def for_the_guest(name: bytes) -> str:
    return converted(name, source="7LBD-NAMES", target="UTF-16LE").decode("utf-16-le")


def on_the_node(name: str) -> bytes:
    return converted(name.encode("utf-16-le"), source="UTF-16LE", target="7LBD-NAMES")


def test_what_is_utf_8_stays_what_it_is() -> None:
    text = "plain Übergröße 日本 😀 \u07ff\u0800\uffff\U0010ffff"
    assert for_the_guest(text.encode()) == text
    assert on_the_node(text) == text.encode()


@pytest.mark.parametrize(
    "wrong",
    [b"\xe4", b"\xc3", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"\xff\xfe", b"\xee\xbe\x80"],
)
def test_each_byte_that_is_none_has_a_letter_of_its_own(wrong: bytes) -> None:
    assert for_the_guest(b"a" + wrong + b"z") == "a" + "".join(chr(0xEF00 | byte) for byte in wrong) + "z"
    assert on_the_node(for_the_guest(wrong)) == wrong


def test_any_bytes_come_back_as_they_were() -> None:
    chance = random.Random(7)
    for length in (*range(1, 40), 255, 70_000):
        name = chance.randbytes(length)
        assert on_the_node(for_the_guest(name)) == name


def test_no_letter_of_the_guests_becomes_a_slash_or_ends_a_name() -> None:
    everything = "".join(map(chr, (*range(0x80, 0xD800), *range(0xE000, 0x110000))))
    assert min(on_the_node(everything)) >= 0x80


@pytest.mark.parametrize("lone", [b"\x00\xd8", b"\x00\xdc", b"\x00\xd8a\x00"])
def test_half_a_letter_of_the_guests_is_refused(lone: bytes) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        converted(lone, source="UTF-16LE", target="7LBD-NAMES")


@pytest.mark.parametrize("guest", ["windows", "linux"])
def test_the_forbidden_letters_have_one_substitute_each(guest: str) -> None:
    pairs = re.findall(r"0x([0-9a-f]{2}):0x([0-9a-f]{4})(?:,|$)", filenames.mapping(guest))
    assert sorted(chr(int(here, 16)) for here, _ in pairs) == sorted('"*:<>?\\|')
    assert len({there for _, there in pairs}) == len(pairs)
    assert not {int(there, 16) for _, there in pairs} & set(range(0xEF80, 0xF000)), "those stand for bytes"
