"""The certificate of a guest's RDP server, asked of servers that go right and wrong."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from sevenlbd.inside.vm import rdp_probe
from sevenlbd.outside.access.certificates import Maker, Pair

HOUR = timedelta(hours=1)
CONFIRM = bytes.fromhex("03000013 0ed0 0000 1234 00 02 1f 0800 02000000")


def rdp_server(folder: Path, answer: bytes, pair: Pair | None) -> int:
    """A server for one connection: the X.224 answer, then TLS with a certificate. Returns its port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection = listener.accept()[0]
        with suppress(OSError):
            assert connection.recv(19)[5] == 0xE0
            connection.sendall(answer)
            if pair:
                pem = folder / "rdp.pem"
                pem.write_bytes(pair.pem())
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(pem)
                context.wrap_socket(connection, server_side=True).recv(1)
        connection.close()

    threading.Thread(target=serve, daemon=True).start()
    return int(listener.getsockname()[1])


def test_the_rdp_servers_certificate_is_found(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    pair = Maker("abc", now - HOUR, now + HOUR).for_page(["guest"])
    port = rdp_server(tmp_path, CONFIRM, pair)
    der = asyncio.run(rdp_probe.certificate("127.0.0.1", port))
    assert der == pair.certificate.public_bytes(serialization.Encoding.DER)


@pytest.mark.parametrize(
    "answer", [b"", CONFIRM[:7], b"\x03\0\0\0", b"RFB 003.008\n", CONFIRM, b"\x03\0\0\x0b\x06\xd0\0\0\0\0\0"]
)
def test_a_server_that_goes_wrong_is_an_error_and_no_hang(tmp_path: Path, answer: bytes) -> None:
    port = rdp_server(tmp_path, answer, None)
    with pytest.raises((OSError, EOFError)):
        asyncio.run(rdp_probe.certificate("127.0.0.1", port, 2.0))


def test_a_server_that_says_nothing_is_waited_for_only_so_long() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            asyncio.run(rdp_probe.certificate("127.0.0.1", silent.getsockname()[1], 0.5))
        assert time.monotonic() - began < 20
