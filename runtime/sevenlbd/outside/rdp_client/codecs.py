"""What really came: the picture updates of an RDP connection, counted by the codec in their headers. No decoding.

Reads the bytes between client and server as they are inside TLS. Sources: MS-RDPBCGR 2.2.9.1.2 (fast path), 2.2.9.2
(surface commands), 2.2.9.1.1.3.1.2 (bitmaps), 2.2.7.2.10 (codecs); MS-RDPEGDI 2.2.9 for what bitmaps hold.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

RAW, RLE, PLANAR = "uncompressed bitmaps", "interleaved RLE bitmaps", "RDP 6 planar bitmaps"
REMOTEFX, NSCODEC, IMAGE_REMOTEFX, JPEG = "RemoteFX", "NSCodec", "RemoteFX image", "JPEG"
ORDERS, PACKED, SURFACE, PIPELINE = (
    "drawing orders",
    "bulk-compressed updates",
    "unknown surface codec",
    "graphics pipeline",
)
# MS-RDPBCGR 2.2.7.2.10.1.1: the client gives each a number for the connection.
_CODECS = {
    uuid.UUID("76772f12-bd72-4463-afb3-b73c9c6f7886"): REMOTEFX,
    uuid.UUID("ca8d1bb9-000f-154f-589f-ae2d1a87e2d6"): NSCODEC,
    uuid.UUID("2744ccd4-9d8a-4e74-803c-0ecbeea19c54"): IMAGE_REMOTEFX,
    uuid.UUID("430c9eed-1baf-4ce6-869a-cb8b37b66237"): JPEG,
}
_PIPELINE = b"Microsoft::Windows::RDS::Graphics"  # MS-RDPEGFX 2.1
_TPKT, _DER, _FAST = 3, 0x30, 0  # first bytes: RFC 1006; CredSSP and RDCleanPath; MS-RDPBCGR 2.2.9.1.2
# RFC 1006, X.224 and MS-RDPBCGR 2.2.1.2: a confirm with the server's choice behind fifteen bytes.
_CONFIRM, _CHOSEN = b"\x03\x00\x00\x13\x0e\xd0", 15
_HYBRID = 0x2 | 0x8  # 2.2.1.2.1: CredSSP, and CredSSP with an early result
_X224_DATA = b"\x02\xf0\x80"
_SEND_INDICATION = 0x68  # T.125: SendDataIndication
_DATA_PDU, _UPDATE_PDU = 7, 2  # MS-RDPBCGR 2.2.8.1.1.1.1 and .2
_SLOW_ORDERS, _SLOW_BITMAP = 0, 1  # 2.2.9.1.1.3
_UPDATE_ORDERS, _UPDATE_BITMAP, _UPDATE_SURFACE = 0, 1, 4  # 2.2.9.1.2.1
_SINGLE, _LAST, _FIRST = 0, 1, 2  # 2.2.9.1.2.1: fragmentation; 3 is one in between
_WITH_COMPRESSION, _COMPRESSED = 2, 0x20  # 2.2.9.1.2.1, and 2.2.8.1.1.1.2 for the flag
_SET_SURFACE, _FRAME_MARKER, _STREAM_SURFACE = 1, 4, 6  # 2.2.9.2
_FRAME_END = 1  # 2.2.9.2.3
_BITMAP_COMPRESSED = 1  # 2.2.9.1.1.3.1.2.2
_EARLY_RESULT = 4  # bytes: 2.2.10.2
_MAX_MESSAGE = 128 << 10  # bytes; a guess: RDP's have at most 64 KiB, certificates before them a few
_MAX_TOTAL = 16 << 20  # bytes of one update in fragments; a guess: four screens of 1280x800


@dataclass
class Pictures:
    """Counts of a connection, or of a part of it."""

    updates: Counter[str] = field(default_factory=Counter)
    """Rectangles, by codec."""
    octets: Counter[str] = field(default_factory=Counter)
    frames: int = 0
    """Frames that the server marked."""
    batches: int = 0
    """Updates with pictures in them: what stands for frames where none are marked."""

    def since(self, before: Pictures) -> Pictures:
        """What came after `before` was taken."""
        return Pictures(
            self.updates - before.updates,
            self.octets - before.octets,
            self.frames - before.frames,
            self.batches - before.batches,
        )

    def copy(self) -> Pictures:
        return Pictures(Counter(self.updates), Counter(self.octets), self.frames, self.batches)


class Meter:
    """Watches one connection. What cannot be read is counted as such, and never ends it."""

    def __init__(self) -> None:
        self.pictures = Pictures()
        self.pipeline = False
        """Whether the server wanted to open the graphics pipeline (progressive, H.264): for clients that have it."""
        self.protocol: int | None = None
        """Which the server chose (MS-RDPBCGR 2.2.1.2.1), as the gateway's answer has it."""
        self.announced: dict[int, str] = {}
        """The client's number of each codec that it has."""
        self._data = bytearray()
        self._fragments = bytearray()
        self._secured = False
        self._lost = False

    @property
    def by_nla(self) -> bool:
        """Whether the server asks who comes before it shows anything."""
        return bool((self.protocol or 0) & _HYBRID)

    def sent(self, data: bytes) -> None:
        """From the client: its list of codecs is all that matters."""
        for identity, name in _CODECS.items():
            if (place := data.find(identity.bytes_le)) >= 0 and len(data) > place + 16:
                self.announced[data[place + 16]] = name

    def received(self, data: bytes) -> None:
        """From the server, in pieces of any size."""
        if self._lost:
            return
        self._data += data
        self.pipeline = self.pipeline or _PIPELINE in self._data
        try:
            while (size := self._size()) and size <= len(self._data):
                message = bytes(self._data[:size])
                del self._data[:size]
                self._message(message)
        except (IndexError, ValueError):
            self._lost = True
            self._data.clear()

    def _size(self) -> int:
        """Of the message that begins here; 0 when that cannot be told yet. Raises ValueError."""
        data = self._data
        if len(data) < _EARLY_RESULT:
            return 0
        if data[0] == _DER and not self._secured:
            extra = data[1] & 0x7F if data[1] & 0x80 else 0
            return _checked(2 + (int.from_bytes(data[2 : 2 + extra]) if extra else data[1]) + extra)
        if data[0] == _TPKT:
            self._secured = True
            size = int.from_bytes(data[2:4])
        elif not self._secured:
            return _EARLY_RESULT
        else:
            size = int.from_bytes(data[1:3]) & 0x7FFF if data[1] & 0x80 else data[1]
        return _checked(size)

    def _message(self, message: bytes) -> None:
        if message[0] == _TPKT:
            self._slow(message)
        elif message[0] == _DER and self.protocol is None and (place := message.find(_CONFIRM)) >= 0:
            self.protocol = int.from_bytes(message[place + _CHOSEN : place + _CHOSEN + 4], "little")
        elif self._secured and message[0] & 3 == _FAST:
            start = 3 if message[1] & 0x80 else 2
            for kind, part, data in _fast_updates(message[start:]):
                self._fast(kind, part, data)

    def _fast(self, kind: int, part: int, data: bytes | None) -> None:
        if data is None:
            self._count(PACKED, 0)
            self.pictures.batches += 1
            return
        if part != _SINGLE:
            if part == _FIRST:
                self._fragments.clear()
            self._fragments += data
            if len(self._fragments) > _MAX_TOTAL:
                raise ValueError("larger than any update")
            if part != _LAST:
                return
            data = bytes(self._fragments)
        self._update(kind, data)

    def _update(self, kind: int, data: bytes) -> None:
        before = self.pictures.updates.total()
        if kind == _UPDATE_BITMAP:
            self._bitmaps(data)
        elif kind == _UPDATE_SURFACE:
            self._surface(data)
        elif kind == _UPDATE_ORDERS:
            self._count(ORDERS, len(data))
        if self.pictures.updates.total() > before:
            self.pictures.batches += 1

    def _slow(self, message: bytes) -> None:
        """An update with all of T.125 and the share headers around it."""
        body = message[4:]
        if not body.startswith(_X224_DATA) or len(body) < 10 or body[3] != _SEND_INDICATION:
            return
        start = 3 + 7 + (1 if body[9] & 0x80 else 0)
        share = body[start:]
        if len(share) < 22 or int.from_bytes(share[2:4], "little") & 0xF != _DATA_PDU or share[14] != _UPDATE_PDU:
            return
        if int.from_bytes(share[0:2], "little") != len(share):
            return  # another channel's
        kind = {_SLOW_ORDERS: _UPDATE_ORDERS, _SLOW_BITMAP: _UPDATE_BITMAP}.get(int.from_bytes(share[18:20], "little"))
        if share[15] & _COMPRESSED:
            self._fast(_UPDATE_BITMAP, _SINGLE, None)
        elif kind is not None:
            self._update(kind, share[18:])

    def _bitmaps(self, data: bytes) -> None:
        place = 4
        for _ in range(int.from_bytes(data[2:4], "little")):
            depth, flags, size = (int.from_bytes(data[place + at : place + at + 2], "little") for at in (12, 14, 16))
            if not flags & _BITMAP_COMPRESSED:
                self._count(RAW, size)
            else:
                self._count(PLANAR if depth == 32 else RLE, size)
            place += 18 + size
        if place > len(data):
            raise ValueError("bitmaps beyond the end")

    def _surface(self, data: bytes) -> None:
        place = 0
        while place + 2 <= len(data):
            command = int.from_bytes(data[place : place + 2], "little")
            if command == _FRAME_MARKER:
                self.pictures.frames += int.from_bytes(data[place + 2 : place + 4], "little") == _FRAME_END
                place += 8
            elif command in (_SET_SURFACE, _STREAM_SURFACE):
                flags, number = data[place + 11], data[place + 13]
                size = int.from_bytes(data[place + 18 : place + 22], "little")
                self._count(self.announced.get(number, SURFACE) if number else RAW, size)
                place += 22 + (24 if flags & 1 else 0) + size
            else:
                raise ValueError("no surface command")

    def _count(self, name: str, size: int) -> None:
        self.pictures.updates[name] += 1
        self.pictures.octets[name] += size


def _checked(size: int) -> int:
    if not 2 <= size <= _MAX_MESSAGE:
        raise ValueError("a message of no such size")
    return size


def _fast_updates(data: bytes) -> Iterator[tuple[int, int, bytes | None]]:
    """Each update's kind, which part of one it is, and its data; None where that is compressed as a whole."""
    place = 0
    while place < len(data):
        kind, part, compression = data[place] & 0xF, data[place] >> 4 & 3, data[place] >> 6
        place += 1
        packed = False
        if compression == _WITH_COMPRESSION:
            packed = bool(data[place] & _COMPRESSED)
            place += 1
        size = int.from_bytes(data[place : place + 2], "little")
        place += 2
        if place + size > len(data):
            raise ValueError("an update beyond the end")
        yield kind, part, None if packed else data[place : place + size]
        place += size
