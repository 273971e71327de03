"""One request over HTTPS to one server that is known by its key, with an end to everything: size, time, and patience.

No redirect is followed, no authority is asked, no name in a certificate counts and neither do its dates: a borrowed
machine's clock may be wrong. What counts is the digest of the server's public key (RFC 7469, 2.4), which came with the
enrolment's code. Nothing is said before it was compared.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import socket
import ssl
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import h11

from ... import __version__

_MOST_HEAD = 16 << 10  # bytes of a status line and its headers; ours have some 500
_READ = 64 << 10  # bytes; TLS hands over 16 KiB at most
_CONNECT_SECONDS = 15.0  # a guess: three times what a second SYN takes
_SILENCE_SECONDS = 30.0  # a guess: no server of ours is silent for so long in the middle of an answer
_PIN = re.compile(r"[A-Za-z0-9_-]{43}")
_BROKEN = "it broke off in the middle of its answer"
_HTTPS = 443  # RFC 9110, 4.2.2


class Unreachable(Exception):
    """There was no answer, or it broke off: the text says why. The next try may do."""


class Untrue(Exception):
    """There was one that no service of ours gives: the text says what is wrong with it."""


@dataclass(frozen=True)
class Server:
    """Where a server is, and what its key must be."""

    host: str
    port: int
    pin: str

    @property
    def name(self) -> str:
        """As it stands in the Host field."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _HTTPS else f"{host}:{self.port}"


@dataclass(frozen=True)
class HttpQuestion:
    """What is asked for."""

    method: str
    path: str
    most: int
    """Bytes of the answer's body, at most."""
    seconds: float
    """For all of it."""
    bearer: str = field(default="", repr=False)
    body: bytes = field(default=b"", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Head:
    """How an answer begins."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    """By their names in lower case; of several of one name the last."""


@dataclass(frozen=True)
class HttpAnswer(Head):
    """A whole one."""

    body: bytes = field(repr=False)


def is_pin(text: str) -> bool:
    """Whether it is one as `pin_of` makes it."""
    return bool(_PIN.fullmatch(text))


def pin_of(certificate: bytes) -> str:
    """The digest of a certificate's public key. Raises ValueError when it is none (DER), or of no kind that we know."""
    from cryptography import x509  # a library of ten megabytes, for those alone who reach a server
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    try:
        key = x509.load_der_x509_certificate(certificate).public_key()
    except (x509.InvalidVersion, UnsupportedAlgorithm) as error:  # TLS itself looks at neither
        raise ValueError(str(error)) from None
    digest = hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()
    return urlsafe_b64encode(digest).decode().rstrip("=")


def ask(server: Server, question: HttpQuestion) -> HttpAnswer:
    """The whole answer. Raises Unreachable and Untrue."""
    with stream(server, question) as (head, pieces):
        return HttpAnswer(head.status, head.headers, b"".join(pieces))


@contextmanager
def stream(server: Server, question: HttpQuestion) -> Iterator[tuple[Head, Iterator[bytes]]]:
    """The answer, its body piece by piece as it comes. Raises Unreachable and Untrue, and so do the pieces."""
    deadline = time.monotonic() + question.seconds
    plain = _connected(server, deadline)
    with plain, _cut_at(plain, deadline), _told(deadline), _secured(plain, server) as wire:
        exchange = _Exchange(wire, question)
        exchange.send(server)
        yield exchange.head(), exchange.pieces()


def _connected(server: Server, deadline: float) -> socket.socket:
    try:
        seconds = max(0.1, min(_CONNECT_SECONDS, deadline - time.monotonic()))
        return socket.create_connection((server.host, server.port), seconds)
    except OSError as error:
        raise Unreachable(f"{server.name} cannot be reached: {error.strerror or error}") from None


@contextmanager
def _cut_at(plain: socket.socket, deadline: float) -> Iterator[None]:
    """Whatever somebody waits for on this line, he does not beyond the deadline: drops do not keep it open."""
    timer = threading.Timer(max(0.0, deadline - time.monotonic()), _cut, (plain,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _cut(plain: socket.socket) -> None:
    with suppress(OSError):
        plain.shutdown(socket.SHUT_RDWR)


@contextmanager
def _told(deadline: float) -> Iterator[None]:
    """What the line and HTTP say, in our two kinds."""
    try:
        yield
    except h11.RemoteProtocolError:
        raise Untrue("it does not answer in HTTP") from None
    except TimeoutError:
        raise Unreachable("it has fallen silent") from None
    except (OSError, Unreachable) as error:
        why = "it takes too long to answer" if time.monotonic() >= deadline else getattr(error, "strerror", "") or error
        raise Unreachable(str(why)) from None


@contextmanager
def _secured(plain: socket.socket, server: Server) -> Iterator[ssl.SSLSocket]:
    """TLS with just this server. The socket that is cut at the deadline stays another: this one takes its place."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    plain.settimeout(_SILENCE_SECONDS)
    with _duplicate(plain) as own, context.wrap_socket(own, server_hostname=server.host) as wire:
        try:
            shown = pin_of(wire.getpeercert(binary_form=True) or b"")
        except ValueError:
            raise Untrue("its certificate is none") from None
        if not hmac.compare_digest(shown, server.pin):
            raise Untrue("its key is not the one that this machine was enrolled with: it is another server")
        yield wire


def _duplicate(plain: socket.socket) -> socket.socket:
    own = plain.dup()
    own.settimeout(plain.gettimeout())
    return own


class _Exchange:
    """One question and its answer on an open line."""

    def __init__(self, wire: ssl.SSLSocket, question: HttpQuestion) -> None:
        self._wire, self._question = wire, question
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MOST_HEAD)

    def send(self, server: Server) -> None:
        asked = self._question
        headers = [
            ("Host", server.name),
            ("User-Agent", f"7lbd/{__version__}"),
            ("Accept-Encoding", "identity"),
            ("Connection", "close"),
            *asked.headers.items(),
        ]
        if asked.bearer:
            headers.append(("Authorization", f"Bearer {asked.bearer}"))
        if asked.method == "POST":
            headers += [("Content-Type", "application/json"), ("Content-Length", str(len(asked.body)))]
        request = h11.Request(method=asked.method, target=asked.path, headers=headers)
        parts = [self._http.send(request), self._http.send(h11.Data(asked.body)) if asked.body else b""]
        self._wire.sendall(b"".join(part or b"" for part in [*parts, self._http.send(h11.EndOfMessage())]))

    def head(self) -> Head:
        event = self._next()
        if not isinstance(event, h11.Response):
            raise Untrue("it does not answer in HTTP")
        headers = {name.decode(): value.decode("latin-1") for name, value in event.headers}
        if 300 <= event.status_code < 400:  # RFC 9110, 15.4
            raise Untrue("it sends us elsewhere, which no pool does")
        if headers.get("content-encoding", "identity") != "identity":
            raise Untrue("its answer is packed, which nobody asked for")
        return Head(event.status_code, headers)

    def pieces(self) -> Iterator[bytes]:
        left = self._question.most
        while isinstance(event := self._next(), h11.Data):
            left -= len(event.data)
            if left < 0:
                raise Untrue(f"its answer is longer than the {self._question.most} bytes that it may have")
            yield bytes(event.data)

    def _next(self) -> object:
        """The next of an answer's parts; those that announce one to come (1xx) are passed over, some of them."""
        for _ in range(4):
            event = self._received()
            if not isinstance(event, h11.InformationalResponse):
                return event
        raise Untrue("it announces its answer again and again")

    def _received(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            data = self._wire.recv(_READ)
            self._http.receive_data(data)
            if not data:
                return self._last()
        return event

    def _last(self) -> object:
        """What the end of the line is the end of: of an answer that did not say how long it is, or of none."""
        try:
            event = self._http.next_event()
        except h11.RemoteProtocolError:
            event = None
        if not isinstance(event, h11.EndOfMessage):
            raise Unreachable(_BROKEN)
        return event
