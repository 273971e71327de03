"""What really came is told by the headers of what came: each codec by its own, and nothing that cannot be read."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sevenlbd.outside.rdp_client.codecs import NSCODEC, PACKED, PLANAR, RAW, REMOTEFX, RLE, SURFACE, Meter, Pictures

_REMOTEFX = uuid.UUID("76772f12-bd72-4463-afb3-b73c9c6f7886").bytes_le
_NSCODEC = uuid.UUID("ca8d1bb9-000f-154f-589f-ae2d1a87e2d6").bytes_le
# A certificate's message, CredSSP's, its early result, and a confirmed connection: none has a picture.
PREAMBLE = b"\x30\x82\x01\x00" + bytes(256) + b"\x30\x05hello" + bytes(4) + b"\x03\x00\x00\x07\x02\xf0\x80"


def little(value: int, size: int) -> bytes:
    return value.to_bytes(size, "little")


def bitmap(depth: int, *, compressed: bool, size: int = 40) -> bytes:
    """TS_BITMAP_DATA (MS-RDPBCGR 2.2.9.1.1.3.1.2.2)."""
    return bytes(12) + little(depth, 2) + little(int(compressed), 2) + little(size, 2) + b"\3" * size


def bitmaps(*data: bytes) -> bytes:
    return little(1, 2) + little(len(data), 2) + b"".join(data)


def surface(codec: int, size: int = 30, *, command: int = 1, extended: bool = False) -> bytes:
    """A surface command with a bitmap (2.2.9.2.1)."""
    head = little(command, 2) + bytes(8) + bytes([32, int(extended), 0, codec]) + bytes(4) + little(size, 4)
    return head + (bytes(24) if extended else b"") + b"\3" * size


def marker(action: int) -> bytes:
    return little(4, 2) + little(action, 2) + little(7, 4)


def update(kind: int, data: bytes, *, part: int = 0, packed: bool = False) -> bytes:
    """One update of the fast path (2.2.9.1.2.1)."""
    head = bytes([kind | part << 4 | (2 << 6 if packed else 0)]) + (b"\x21" if packed else b"")
    return head + little(len(data), 2) + data


def fast(*updates: bytes) -> bytes:
    """TS_FP_UPDATE_PDU (2.2.9.1.2)."""
    data = b"".join(updates)
    return b"\0" + (0x8000 | len(data) + 3).to_bytes(2) + data


def slow(data: bytes, *, packed: bool = False) -> bytes:
    """The same by T.125 (2.2.9.1.1)."""
    share = little(18 + len(data), 2) + little(0x17, 2) + bytes(2 + 4 + 2) + little(len(data), 2)
    share += bytes([2, 0x21 if packed else 0]) + bytes(2) + data
    body = b"\x02\xf0\x80\x68" + bytes(5) + (0x8000 | len(share)).to_bytes(2) + share
    return b"\x03\x00" + (len(body) + 4).to_bytes(2) + body


def seen(messages: Iterable[bytes], *, announces: bytes = b"") -> Pictures:
    meter = Meter()
    meter.sent(announces)
    meter.received(PREAMBLE)
    for message in messages:
        meter.received(message)
    return meter.pictures


ANNOUNCED = b"caps" + _NSCODEC + b"\x01\x03\x00abc" + _REMOTEFX + b"\x03\x31\x00"


@pytest.mark.parametrize(
    ("message", "name"),
    [
        (fast(update(1, bitmaps(bitmap(32, compressed=True)))), PLANAR),
        (fast(update(1, bitmaps(bitmap(16, compressed=True)))), RLE),
        (fast(update(1, bitmaps(bitmap(32, compressed=False)))), RAW),
        (slow(bitmaps(bitmap(24, compressed=True))), RLE),
        (fast(update(4, surface(3))), REMOTEFX),
        (fast(update(4, surface(3, command=6, extended=True))), REMOTEFX),
        (fast(update(4, surface(1))), NSCODEC),
        (fast(update(4, surface(0))), RAW),
        (fast(update(4, surface(9))), SURFACE),
        (fast(update(4, b"whatever", packed=True)), PACKED),
        (slow(b"whatever12", packed=True), PACKED),
    ],
)
def test_each_codec_is_known_by_its_own_header(message: bytes, name: str) -> None:
    found = seen([message], announces=ANNOUNCED)
    assert dict(found.updates) == {name: 1}
    assert found.batches == 1


def test_a_number_means_the_codec_that_the_client_gave_it() -> None:
    swapped = _NSCODEC + b"\x03\x00\x00" + _REMOTEFX + b"\x01\x00\x00"
    assert dict(seen([fast(update(4, surface(3)))], announces=swapped).updates) == {NSCODEC: 1}
    assert dict(seen([fast(update(4, surface(3)))]).updates) == {SURFACE: 1}, "nothing was announced"


def test_frames_are_counted_at_their_ends_and_bytes_as_they_came() -> None:
    frame = fast(update(4, marker(0) + surface(3, 100) + surface(3, 50) + marker(1)))
    found = seen([frame, frame], announces=ANNOUNCED)
    assert (found.frames, found.batches, found.updates[REMOTEFX], found.octets[REMOTEFX]) == (2, 2, 4, 300)


def test_an_update_in_fragments_is_one() -> None:
    whole = surface(3, 5000)
    parts = [update(4, whole[:2000], part=2), update(4, whole[2000:4000], part=3), update(4, whole[4000:], part=1)]
    found = seen([fast(part) for part in parts], announces=ANNOUNCED)
    assert (found.updates[REMOTEFX], found.octets[REMOTEFX], found.batches) == (1, 5000, 1)


def test_pointers_and_other_channels_are_no_pictures() -> None:
    other = b"\x03\x00\x00\x1a\x02\xf0\x80\x68\x00\x00\x03\xec\x70\x0c" + bytes(12)
    assert not seen([fast(update(5, b""), update(9, bytes(20))), other]).updates


def test_what_came_since_is_what_came_since() -> None:
    meter = Meter()
    meter.sent(ANNOUNCED)
    meter.received(PREAMBLE + fast(update(4, surface(3) + marker(1))))
    before = meter.pictures.copy()
    meter.received(fast(update(4, surface(3) + surface(1) + marker(1))))
    since = meter.pictures.since(before)
    assert (dict(since.updates), since.frames) == ({REMOTEFX: 1, NSCODEC: 1}, 1)


@pytest.mark.parametrize(("chosen", "by_nla"), [(1, False), (2, True), (8, True), (0, False)])
def test_whether_the_server_asks_who_comes_first_is_told_by_its_choice(chosen: int, *, by_nla: bool) -> None:
    confirm = bytes.fromhex("03000013 0ed00000123400 02000800") + little(chosen, 4)
    meter = Meter()
    meter.received(b"\x30\x20" + b"\xa0\x1e" + b"\x04" * 8 + confirm + bytes(3))
    assert meter.by_nla is by_nla
    meter.received(b"\x30\x13" + bytes.fromhex("03000013 0ed00000123400 02000800 02000000"))
    assert meter.by_nla is by_nla, "what comes later is not the gateway's"


STREAM = PREAMBLE + b"".join(
    [
        fast(update(4, marker(0) + surface(3, 700) + marker(1))),
        slow(bitmaps(bitmap(24, compressed=True))),
        fast(update(1, bitmaps(bitmap(32, compressed=True), bitmap(32, compressed=True)))),
    ]
)


@given(st.lists(st.integers(1, len(STREAM) - 1), max_size=20))
def test_it_does_not_matter_how_the_bytes_are_cut(places: list[int]) -> None:
    meter, cuts = Meter(), sorted({0, *places, len(STREAM)})
    meter.sent(ANNOUNCED)
    for start, end in itertools.pairwise(cuts):
        meter.received(STREAM[start:end])
    assert dict(meter.pictures.updates) == {REMOTEFX: 1, RLE: 1, PLANAR: 2}


@given(st.binary(max_size=400), st.integers(0, len(STREAM)))
def test_nonsense_is_counted_as_nothing_and_ends_nothing(nonsense: bytes, place: int) -> None:
    meter = Meter()
    meter.received(STREAM[:place] + nonsense)
    meter.received(STREAM)


def test_no_length_makes_it_keep_what_comes_for_ever() -> None:
    meter = Meter()
    meter.received(b"\x30\x84\xff\xff\xff\xff")
    for _ in range(100):
        meter.received(bytes(1 << 16))
    assert len(meter._data) <= 1 << 17
