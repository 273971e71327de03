"""What goes to the browser is made smaller, arrives as it was, and costs no more than so much a second."""

from __future__ import annotations

import os
import zlib
from itertools import count

from gateway_world import World, lived, request_message
from sevenlbd.inside.gateway import deflate
from sevenlbd.inside.gateway.deflate import Deflate

TAIL = b"\0\0\xff\xff"
PICTURE = bytes(range(64)) * 512


def unpacked(packer: zlib._Decompress, message: bytes | None) -> bytes:
    assert message is not None
    return packer.decompress(message + TAIL)


def test_messages_refer_to_those_before_them() -> None:
    made, packer = Deflate(15), zlib.decompressobj(wbits=-15)
    sizes = []
    for message in (PICTURE, PICTURE, b"x", os.urandom(70_000), PICTURE):
        packed = made.packed(memoryview(message))
        assert unpacked(packer, packed) == message
        sizes.append(len(packed or b""))
    assert sizes[1] <= sizes[0] < len(PICTURE) / 50
    assert sizes[3] < 70_100


def test_or_do_not_where_the_browser_wants_that() -> None:
    made = Deflate(9, fresh=True)
    for message in (PICTURE, b"x", PICTURE):
        assert unpacked(zlib.decompressobj(wbits=-9), made.packed(memoryview(message))) == message


def test_a_film_goes_as_it_is_but_for_a_little_and_a_desktop_after_it_is_made_smaller_again() -> None:
    now = [0.0]
    made, message = Deflate(15, clock=lambda: now[0]), memoryview(bytes(256 * 1024))
    first = next(number for number in count() if made.packed(message) is None)
    assert first == deflate._BURST // len(message)
    packed = 0
    for _ in range(400):  # ten seconds of 10 MiB each
        now[0] += 0.025
        packed += made.packed(message) is not None
    assert 8 <= packed <= 10
    now[0] += 1
    assert made.packed(message)


@lived()
async def test_a_browser_that_takes_it_gets_what_the_guest_sent(world: World) -> None:
    async with world.desktop(compress=15, max_msg_size=0) as ws:
        assert ws.compress == 15
        await ws.send_bytes(request_message())
        await ws.receive()
        for size in (1, 125, 126, 65535, 65536, 300_000, 1_000_000):
            message = PICTURE[:size] if size < len(PICTURE) else os.urandom(size)
            await ws.send_bytes(message)
            back = b""
            while len(back) < size:
                back += (await ws.receive()).data
            assert back == message


def sizes_of(keys: str, *, apart: bool) -> list[int]:
    """Of the frames of what is typed, as a browser packs them: a key pressed and released ([MS-RDPBCGR] 2.2.8.1.2)."""
    packer, found = zlib.compressobj(wbits=-15), []
    for key in keys:
        for event in (bytes((0x04, 0x04, 0x00, ord(key) % 128)), bytes((0x04, 0x04, 0x01, ord(key) % 128))):
            found.append(len(packer.compress(event) + packer.flush(zlib.Z_FULL_FLUSH if apart else zlib.Z_SYNC_FLUSH)))
    return found


@lived()
async def test_which_keys_are_typed_twice_is_in_no_frames_length(world: World) -> None:
    async with world.desktop(compress=15) as ws:
        agreed = ws._response.headers["Sec-WebSocket-Extensions"]
        assert "client_no_context_takeover" in agreed.split("; ")
        await ws.send_bytes(request_message())
        await ws.receive()
        for _ in range(3):
            await ws.send_bytes(PICTURE)
            back = b""
            while len(back) < len(PICTURE):
                back += (await ws.receive()).data
            assert back == PICTURE, "and what a browser packs so is understood"
    assert len(set(sizes_of("abcaab", apart=True))) == 1 < len(set(sizes_of("abcaab", apart=False)))


@lived()
async def test_who_does_not_ask_for_it_gets_it_plain(world: World) -> None:
    async with world.desktop() as ws:
        assert not ws.compress
    async with world.console(compress=15) as ws:
        assert not ws.compress, "noVNC's own encodings are compressed"


@lived()
async def test_a_message_that_grows_beyond_measure_is_refused(world: World) -> None:
    """Whoever has the key may send what he likes, but not a gigabyte in a kilobyte."""
    async with world.desktop(compress=15) as ws:
        await ws.send_bytes(request_message())
        await ws.receive()
        await ws.send_bytes(bytes(64 * 1024 * 1024))
        while (message := await ws.receive()).type.name == "BINARY":
            pass
        assert ws.close_code == 1009, message
