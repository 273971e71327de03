"""What a guest says at a command's end, and what a pool's server answers by HTTPS: a word, or a refusal in words."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import Any

from sevenlbd.outside.batch import verdict
from sevenlbd.outside.folders.job_folder import JobFolder
from sevenlbd.outside.grid import https_exchange
from sevenlbd.wire.job_files import ENDED

from .target import Parse, Target, check_shown, file, folder

_MOST = 2048  # bytes of a body; less than an input has


def _ended(data: bytes) -> None:
    """`ended.json`: an exit code that a process can have, and a sentence that can be shown."""
    file(ENDED, data)
    descriptor = os.open(folder(), os.O_PATH | os.O_DIRECTORY)
    try:
        end = verdict.read(JobFolder(descriptor))
    finally:
        os.close(descriptor)
    assert end is not None
    assert 0 <= end.code <= 255, end
    assert end.full is None or 0 <= end.full < 1 << 32, end
    check_shown(end.said)


class _Line:
    """A line on which just this is answered, in pieces."""

    def __init__(self, answer: bytes) -> None:
        self._left = answer

    def sendall(self, _data: bytes) -> None:
        pass

    def recv(self, most: int) -> bytes:
        piece, self._left = self._left[: min(most, 100)], self._left[min(most, 100) :]
        return piece


def _https() -> Parse:
    """A whole answer, or one of two refusals; never more of it than was agreed."""
    question = https_exchange.HttpQuestion("POST", "/v1/x", _MOST, 5.0, "secret", b"{}")
    server = https_exchange.Server("pool.example.edu", 443, "x" * 43)

    def parse(data: bytes) -> None:
        line: Any = _Line(data)
        with (
            suppress(https_exchange.Unreachable, https_exchange.Untrue),
            https_exchange._told(time.monotonic() + 60),
        ):
            exchange = https_exchange._Exchange(line, question)
            exchange.send(server)
            head = exchange.head()
            assert 200 <= head.status < 1000, head
            assert not 300 <= head.status < 400, head
            assert sum(map(len, exchange.pieces())) <= _MOST
        with suppress(ValueError):
            assert https_exchange.is_pin(https_exchange.pin_of(data))

    return parse


def _ended_seeds() -> tuple[bytes, ...]:
    return (
        b'{"code":0}',
        b'{"code":-1073741819}',
        b'{"signal":9}',
        b'{"failed":"not-found","said":"there is no such program"}',
    )


def _https_seeds() -> tuple[bytes, ...]:
    head = b"HTTP/1.1 200 OK\r\nDate: Fri, 27 Nov 2026 17:00:00 GMT\r\n"
    return (
        head + b"Content-Length: 2\r\n\r\n{}",
        head + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\n" + head + b"\r\n{}",
        b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n",
        _certificate(),
    )


def _certificate() -> bytes:
    """A server's, as DER, the same each time."""
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ed25519
    from cryptography.hazmat.primitives.serialization import Encoding

    key, name = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32)), x509.Name([])
    then = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 7, then, then + datetime.timedelta(days=1))
    return made.sign(key, None).public_bytes(Encoding.DER)


TARGETS = (
    Target("ended", lambda: _ended, ("sevenlbd.outside.batch", "sevenlbd.outside.folders", "json"), _ended_seeds, 1024),
    Target("https-answer", _https, ("sevenlbd.outside.grid", "h11"), _https_seeds),
)
