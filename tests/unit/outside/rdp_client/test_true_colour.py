"""One message of the client's is changed on its way, in two fields, and no other."""

from __future__ import annotations

import struct

import pytest
from sevenlbd.outside.rdp_client import true_colour


def connect_initial(length: bytes = b"\x81\x2a", *, kind: int = 0xC001, size: int = 234) -> bytes:
    """As IronRDP begins it: 16 bits a pixel, all depths supported, early capabilities 0x829."""
    core = bytearray(struct.pack("<HH", kind, size).ljust(size, b"\x11"))
    struct.pack_into("<HHH", core, 140, 16, 15, 0x829)
    return b"\x03\x00\x01\xa8\x02\xf0\x80\x7f\x65\x82\x01\x9c" + b"\x04" * 80 + b"Duca" + length + core + b"\x02\xc0"


@pytest.mark.parametrize("length", [b"\x81\x2a", b"\x2a"])
def test_the_message_that_says_how_many_bits_a_pixel_asks_for_32(length: bytes) -> None:
    message = connect_initial(length)
    asked = true_colour.asked_for(message)
    changed = [place for place, (old, new) in enumerate(zip(message, asked, strict=True)) if old != new]
    at = message.index(b"Duca") + 4 + len(length)
    assert changed == [at + 140, at + 144]
    assert struct.unpack_from("<HHH", asked, at + 140) == (24, 15, 0x82B)
    assert true_colour.asked_for(asked) == asked


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\x30\x82" + connect_initial()[2:7] + b"\x30" + connect_initial()[8:],
        connect_initial().replace(b"Duca", b"McDn"),
        connect_initial(kind=0xC002),
        connect_initial(size=146)[:-10],
        connect_initial()[:90],
        connect_initial()[: connect_initial().index(b"Duca") + 4],
    ],
)
def test_any_other_message_stays_as_it_is(message: bytes) -> None:
    assert true_colour.asked_for(message) == message
