"""What a connection's first bytes say, before anything is spent on it: pure functions of what was peeked at.

Nothing is decided here but who goes first. Whoever shows a cookie or a token is served before those who do not; what
it opens is looked at again, by the application, like any request's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum, auto

from ...wire.gateway import Front
from . import authentication

PEEK = 16 * 1024  # bytes; the longest record of TLS; two full lines of a head
_END = b"\r\n\r\n"
_METHOD = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ\r\n")
_LOGIN = re.compile(rb"POST [^ ?]*/login HTTP/1\.[01]\r\n")
_TOKEN = re.compile(rb"(?:^|&)token=([A-Za-z0-9_-]+)")
_RECORD_HEADER, _MAX_RECORD, _HANDSHAKE = 5, 1 << 14, 0x16  # RFC 8446, 5.1


class Verdict(Enum):
    """What to do with a connection that has sent so much."""

    WAIT = auto()
    GONE = auto()
    STRANGER = auto()
    KNOWN = auto()


def of_http(data: bytes, front: Front | None) -> Verdict:
    """A request's head, and the short body of a log-in (RFC 9112 section 2)."""
    if not data:
        return Verdict.GONE
    end = data.find(_END)
    if end < 0:
        # What cannot become a request is answered at once, and what is too long for one.
        return Verdict.WAIT if data[0] in _METHOD and len(data) < PEEK else Verdict.STRANGER
    if front is None:
        return Verdict.STRANGER
    head = data[: end + 2]
    if any(_opens(name, value, front) for name, value in _headers(head)):
        return Verdict.KNOWN
    return _of_login(data[end + len(_END) :], front) if _LOGIN.match(head) else Verdict.STRANGER


def _headers(head: bytes) -> Iterator[tuple[bytes, str]]:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        yield name.lower(), value.strip().decode("latin-1")


def _opens(name: bytes, value: str, front: Front) -> bool:
    if name == b"cookie":
        return any(True for _ in authentication.visitors([value], front.session, front.cookie_key))
    return name == b"authorization" and bool(authentication.role_of_token(authentication.bearer(value), front.tokens))


def _of_login(body: bytes, front: Front) -> Verdict:
    """More of the body may still come; until it has, it is a stranger's."""
    token = _TOKEN.search(body)
    return (
        Verdict.KNOWN if token and authentication.role_of_token(token[1].decode(), front.tokens) else Verdict.STRANGER
    )


def of_tls(data: bytes) -> Verdict:
    """The record of a ClientHello (RFC 8446 section 5.1): no handshake is begun before it is whole."""
    if not data or data[0] != _HANDSHAKE:
        return Verdict.GONE
    if len(data) < _RECORD_HEADER:
        return Verdict.WAIT
    length = int.from_bytes(data[3:5])
    if not 0 < length <= _MAX_RECORD:
        return Verdict.GONE
    return Verdict.STRANGER if len(data) >= min(_RECORD_HEADER + length, PEEK) else Verdict.WAIT
