"""What was typed blind is not delivered late: presses that may be older than a person waits are taken out.

On a line that says nothing for a while, keys and clicks wait in somebody's buffer, and would all come at once to a
desktop that has changed since. How old they are, nobody tells; but a page repeats, in turn with its keys, the last time
that it heard from us on its stream of events: what comes after that was sent after that. A client that repeats nothing,
as others than our pages, is believed.

What lets go of a key or a button is delivered at any age, so that nothing hangs; so is what is no input at all.
"""

from __future__ import annotations

import math
import struct
import time
from collections.abc import Callable

MOST_SECONDS = 5.0  # longer than a page takes to see that the line is silent (lib/session.js), and no more
_MAX_STAMP = 32  # characters, of a time in seconds

Clock = Callable[[], float]
Sieve = Callable[[bytes], bytes]
"""Of a message, what may be delivered at any age."""

# [MS-RDPBCGR] 2.2.8.1.2 and 2.2.8.1.2.2: Client Fast-Path Input Event PDU, and the events in it by their code.
_LENGTHS = {0: 2, 1: 7, 2: 7, 3: 1, 4: 3, 5: 7, 6: 5}
_KEYS, _MOUSE, _MOUSE_X, _SYNC, _UNICODE = 0, 1, 2, 3, 4
_KEY_RELEASED = 1
_BUTTONS_X = 0x0003  # PTRXFLAGS_BUTTON1 and 2
_BUTTONS = 0x7000  # PTRFLAGS_BUTTON1 to 3
_DOWN = 0x8000
_LONG = 0x80

# RFC 6143, 7.5.4 and 7.5.5; QEMU's keys: rfbproto, "QEMU Extended Key Event Message".
_RFB_KEY, _RFB_POINTER, _RFB_QEMU = 4, 5, 255
_RFB_LENGTHS = {_RFB_KEY: 8, _RFB_POINTER: 6, _RFB_QEMU: 12}


class Freshness:
    """How old what comes now can be, by the times that the page repeats."""

    def __init__(self, clock: Clock = time.time) -> None:
        self._clock = clock
        self._heard = math.inf

    def repeated(self, text: str) -> str:
        """The page had heard of this time: as it is told, or nothing when it is none."""
        stamp = text[:_MAX_STAMP]
        try:
            heard = float(stamp)
        except ValueError:
            return ""
        if not (stamp.isascii() and math.isfinite(heard)):
            return ""
        self._heard = heard
        return stamp

    @property
    def late(self) -> bool:
        """Whether what comes now may have been typed too long ago."""
        return self._clock() - self._heard > MOST_SECONDS


def rdp(message: bytes) -> bytes:
    """Of a client's fast-path input only what lets go; anything else as it is."""
    if len(message) < 3 or message[0] & 3 or message[0] & 0xC0:
        return message  # TPKT, or input with a signature, which only RDP without TLS has
    header, length = (3, (message[1] & 0x7F) << 8 | message[2]) if message[1] & _LONG else (2, message[1])
    if length != len(message) or length == header:
        return message
    count = message[0] >> 2 & 0xF
    if not count:
        count, header = message[header], header + 1
    events = _split(message[header:], lambda first: _LENGTHS.get(first >> 5, 0))
    if events is None or len(events) != count:
        return message
    kept = [event for event in events if _lets_go(event)]
    return _packed(kept) if kept else b""


def _lets_go(event: bytes) -> bool:
    code, flags = event[0] >> 5, event[0] & 0x1F
    if code in (_KEYS, _UNICODE):
        return bool(flags & _KEY_RELEASED)
    if code in (_MOUSE, _MOUSE_X):
        pointer = int.from_bytes(event[1:3], "little")
        return bool(pointer & (_BUTTONS if code == _MOUSE else _BUTTONS_X)) and not pointer & _DOWN
    return code == _SYNC


def _packed(events: list[bytes]) -> bytes:
    """A PDU of these, which are fewer than came in one."""
    body = bytes([len(events)]) + b"".join(events)
    return struct.pack(">BH", 0, 0x8000 | len(body) + 3) + body


def rfb(message: bytes) -> bytes:
    """Of a console's keys and pointer only what lets go; anything else as it is."""
    events = _split(message, lambda first: _RFB_LENGTHS.get(first, 0))
    return message if events is None else b"".join(event for event in events if _rfb_lets_go(event))


def _rfb_lets_go(event: bytes) -> bool:
    if event[0] == _RFB_QEMU:
        return event[1] != 0 or event[2:4] == b"\0\0"  # other messages of QEMU's are no keys
    return event[1] == 0


def _split(data: bytes, length: Callable[[int], int]) -> list[bytes] | None:
    """The events in `data`, each as long as its first byte says; None when it is something else."""
    events, start = [], 0
    while start < len(data):
        size = length(data[start])
        if not size or start + size > len(data):
            return None
        events.append(data[start : start + size])
        start += size
    return events
