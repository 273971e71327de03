"""What the page's own line says in the client's stead: that the session is to have 32 bits a pixel.

The same as `assets/lib/true-colour.js` of the pages, so that this client gets what a browser gets: Windows has RemoteFX
for such sessions only. Source: [MS-RDPBCGR], 2.2.1.3.2, Client Core Data.
"""

from __future__ import annotations

import struct

_CONNECT_INITIAL, _CONNECT_INITIAL_AT = b"\x7f\x65", 7  # the same, 4.1.3: behind TPKT and X.224
_KEY = b"Duca"  # the same, 2.2.1.3: then the length of the blocks
_HEADER = struct.Struct("<HH")
_CORE_DATA = 0xC001  # the same, 2.2.1.3.1: CS_CORE
_HIGH_COLOUR_DEPTH_AT, _EARLY_CAPABILITIES_AT = 140, 144  # the same, 2.2.1.3.2
_HIGH_COLOUR_24BPP, _WANT_32BPP_SESSION = 24, 2  # the same


def asked_for(message: bytes) -> bytes:
    """The message; the one that says how many bits a pixel has asks for 32."""
    at = _core_data(message)
    if at < 0:
        return message
    amended = bytearray(message)
    (early,) = struct.unpack_from("<H", message, at + _EARLY_CAPABILITIES_AT)
    struct.pack_into("<H", amended, at + _HIGH_COLOUR_DEPTH_AT, _HIGH_COLOUR_24BPP)
    struct.pack_into("<H", amended, at + _EARLY_CAPABILITIES_AT, early | _WANT_32BPP_SESSION)
    return bytes(amended)


def _core_data(message: bytes) -> int:
    """Where its Client Core Data begins, or -1."""
    if not message.startswith(_CONNECT_INITIAL, _CONNECT_INITIAL_AT):
        return -1
    key = message.find(_KEY)
    length = key + len(_KEY)
    if key < 0 or length >= len(message):
        return -1
    at = length + (2 if message[length] & 0x80 else 1)  # X.691, 11.9: a length in one byte, or in two
    if at + _EARLY_CAPABILITIES_AT + 2 > len(message):
        return -1
    kind, size = _HEADER.unpack_from(message, at)
    return at if kind == _CORE_DATA and size > _EARLY_CAPABILITIES_AT + 1 else -1
