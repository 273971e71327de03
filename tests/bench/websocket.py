"""A WebSocket client that is faster than what it measures: after the handshake it counts bytes, or reads one frame.

RFC 6455. A server's frames are not masked, so raw bytes can be counted; their headers are 10 bytes in 64 KiB.
"""

from __future__ import annotations

import os
import socket
import struct

_SHORT, _MEDIUM = 126, 1 << 16
PONG = b"\x8a\x80\0\0\0\0"
"""An empty one, masked with zeros. It may be sent unasked (RFC 6455 5.5.3)."""


def connect(port: int, path: str, cookie: str = "") -> socket.socket:
    """Shake hands on the loopback."""
    wire = socket.create_connection(("127.0.0.1", port))
    wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        f"Origin: http://127.0.0.1:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Protocol: binary",
        *([f"Cookie: {cookie}"] if cookie else []),
    ]
    wire.sendall("\r\n".join([*lines, "", ""]).encode())
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        byte = wire.recv(1)
        assert byte, f"no handshake: {answer.decode()}"
        answer += byte
    assert answer.startswith(b"HTTP/1.1 101"), answer.decode()
    return wire


def frame(payload: bytes) -> bytes:
    """A client's binary message, masked."""
    mask = os.urandom(4)
    length = len(payload)
    if length < _SHORT:
        head = struct.pack(">BB", 0x82, 0x80 | length)
    elif length < _MEDIUM:
        head = struct.pack(">BBH", 0x82, 0xFE, length)
    else:
        head = struct.pack(">BBQ", 0x82, 0xFF, length)
    key = (mask * (length // 4 + 1))[:length]
    return head + mask + (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(length, "big")


def read_short(wire: socket.socket, length: int) -> bytes:
    """The payload of a short frame that is known to be so long."""
    data = wire.recv(2 + length, socket.MSG_WAITALL)
    assert data[:2] == bytes((0x82, length)), data
    return data[2:]
