"""A pool's service that says what a test wants, over real TLS: true, false, too much, too slowly."""

from __future__ import annotations

import datetime
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from sevenlbd.outside.grid import https_exchange, membership, protocol
from sevenlbd.outside.grid.membership import Membership
from sevenlbd.outside.grid.protocol import Demand, OfferedFile, OfferedImage, PoolAddress, Waiting

POOL = PoolAddress("pool.example.org:9618", "example.org")
WANTED = Waiting(POOL, (Demand("win11", 3, 2, 4 << 30, 10 << 30),), "0" * 64)
OFFERED = OfferedImage(
    "win11", "v1", "1" * 64, (OfferedFile("manifest.json", 900), OfferedFile("warm/memory", 5 << 20))
)
Pieces = Iterable[bytes]


@dataclass(frozen=True)
class Certificate:
    """One that nobody vouches for, in a file with its key."""

    file: Path
    pin: str


def certificate(folder: Path, *, days: tuple[int, int] = (-1, 1), name: str = "pool") -> Certificate:
    """A certificate that holds from and until so many days from now."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    begins, ends = (now + datetime.timedelta(days=day) for day in days)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(begins).not_valid_after(ends)
    made = builder.sign(key, hashes.SHA256())
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    file = folder / f"{name}.pem"
    file.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain) + made.public_bytes(pem),
    )
    return Certificate(file, https_exchange.pin_of(made.public_bytes(serialization.Encoding.DER)))


@dataclass
class Liar:
    """What it answers is `says`, one after the other, the last for ever; what it was asked is in `heard`."""

    port: int
    pin: str
    says: list[Callable[[], Pieces]] = field(default_factory=list)
    heard: list[bytes] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def next_answer(self) -> Pieces:
        answer = self.says.pop(0) if len(self.says) > 1 else self.says[0]
        return answer()


def answer(
    body: bytes | object, *headers: str, status: str = "200 OK", length: int | None = None
) -> Callable[[], Pieces]:
    """A whole answer; what is not bytes is written as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(content) if length is None else length}", *headers]
    head = "\r\n".join(lines).encode() + b"\r\n\r\n"
    return lambda: [head + content]


def dripping(data: bytes, seconds: float) -> Callable[[], Pieces]:
    """The same byte by byte."""

    def drops() -> Iterator[bytes]:
        for number in range(len(data)):
            yield data[number : number + 1]
            time.sleep(seconds)

    return drops


@contextmanager
def lying(certified: Certificate) -> Iterator[Liar]:
    """The server, in threads of its own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certified.file)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        liar = Liar(listener.getsockname()[1], certified.pin)
        threading.Thread(target=_serve, args=(listener, context, liar), daemon=True).start()
        yield liar


def _serve(listener: socket.socket, context: ssl.SSLContext, liar: Liar) -> None:
    with suppress(OSError):
        while True:
            wire, _ = listener.accept()
            threading.Thread(target=_answer, args=(wire, context, liar), daemon=True).start()


def _answer(plain: socket.socket, context: ssl.SSLContext, liar: Liar) -> None:
    with suppress(OSError), plain, context.wrap_socket(plain, server_side=True) as wire:
        liar.heard.append(_request(wire))
        for piece in liar.next_answer():
            wire.sendall(piece)
        wire.unwrap()


def _request(wire: ssl.SSLSocket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        if not (more := wire.recv(65536)):
            return data
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
    while len(body) < length and (more := wire.recv(65536)):
        body += more
        data += more
    return data


def enrolled(folder: Path, url: str, pin: str, token: str = "token-1") -> Path:
    """A machine's folder."""
    place = folder / "grid"
    membership.write(place, Membership(url, "lab-01", pin), token)
    return place


def waiting() -> bytes:
    return protocol.WAITING_ANSWER.pack(WANTED)
