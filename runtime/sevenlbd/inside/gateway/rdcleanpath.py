"""RDCleanPath: what a browser's RDP client and its gateway say before TLS. Messages only, no I/O.

One DER SEQUENCE (X.690) with explicit context tags. Sources: crate ironrdp-rdcleanpath for the messages and their
error codes; MS-RDPBCGR 2.2.1.1 and 2.2.1.2 for the X.224 requests and confirms inside (RFC 1006 for their frame).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pyasn1.codec.der import decoder, encoder
from pyasn1.error import PyAsn1Error
from pyasn1.type import char, namedtype, tag, univ

VERSION = 3390  # IronRDP, ironrdp-rdcleanpath: the only one that there is
MAX_MESSAGE = 64 * 1024  # bytes; a guess: a request has some hundred
MAX_TPKT = 4096  # bytes; a guess: a request or a confirmation has some dozens
TPKT_HEADER = 4  # bytes (RFC 1006, 6)
GENERAL, NEGOTIATION = 1, 2  # IronRDP, ironrdp-rdcleanpath: the codes of its errors

_SEQUENCE = 0x30  # ASN.1's tag, as DER has it (X.690, 8.9)
_TPKT, _X224_REQUEST, _X224_CONFIRM = 3, 0xE0, 0xD0  # RFC 1006, 6; X.224, 13.3 and 13.4
_X224_FIXED = 7  # length, code, two references, class
_NEG_RESPONSE, _NEG_SIZE = 2, 8  # MS-RDPBCGR 2.2.1.2.1
_PROTOCOL_RDP = 0  # RDP's own security, without TLS


class MalformedMessage(ValueError):
    """Bytes that are no message."""


def _explicit(number: int) -> tag.Tag:
    return tag.Tag(tag.tagClassContext, tag.tagFormatConstructed, number)


def _tagged(kind: Any, number: int) -> Any:
    return kind().subtype(explicitTag=_explicit(number))


def _optional(name: str, kind: type, number: int) -> namedtype.OptionalNamedType:
    return namedtype.OptionalNamedType(name, _tagged(kind, number))


class _Error(univ.Sequence):
    componentType = namedtype.NamedTypes(  # noqa: N815  # pyasn1's name
        namedtype.NamedType("code", _tagged(univ.Integer, 0)),
        _optional("http", univ.Integer, 1),
        _optional("wsa", univ.Integer, 2),
        _optional("alert", univ.Integer, 3),
    )


class _Chain(univ.SequenceOf):
    componentType = univ.OctetString()  # noqa: N815  # pyasn1's name


class _Message(univ.Sequence):
    componentType = namedtype.NamedTypes(  # noqa: N815  # pyasn1's name
        namedtype.NamedType("version", _tagged(univ.Integer, 0)),
        _optional("error", _Error, 1),
        _optional("destination", char.UTF8String, 2),
        _optional("proxy_auth", char.UTF8String, 3),
        _optional("server_auth", char.UTF8String, 4),
        _optional("preconnection_blob", char.UTF8String, 5),
        _optional("x224", univ.OctetString, 6),
        _optional("chain", _Chain, 7),
        _optional("server_addr", char.UTF8String, 9),
    )


@dataclass(frozen=True)
class Request:
    """What the client wants. Where it wants to go is read, but the session has only one place to go to."""

    version: int
    destination: str
    x224: bytes


@dataclass(frozen=True)
class Error:
    """Why there is no connection, in the words that the client has for it."""

    code: int = GENERAL
    http: int = 0
    wsa: int = 0
    alert: int = 0


def length(start: bytes) -> int | None:
    """How long the message is that begins like this; None when that cannot be told yet. Raises Malformed."""
    if start and start[0] != _SEQUENCE:
        raise MalformedMessage("not a DER sequence")
    if len(start) < 2:
        return None
    first = start[1]
    if first < 0x80:
        return 2 + first
    count = first & 0x7F
    if not 1 <= count <= 3:
        raise MalformedMessage("a length that no message has")
    if len(start) < 2 + count:
        return None
    whole = 2 + count + int.from_bytes(start[2 : 2 + count])
    if whole > MAX_MESSAGE:
        raise MalformedMessage("larger than any message")
    return whole


def unpack_request(data: bytes) -> Request:
    """The request of one whole message. Raises Malformed."""
    if length(data) != len(data):
        raise MalformedMessage("not one whole message")
    try:
        message, rest = decoder.decode(data, asn1Spec=_Message())
        request = Request(
            version=int(message["version"]),
            destination=str(message["destination"]) if message["destination"].isValue else "",
            x224=bytes(message["x224"]) if message["x224"].isValue else b"",
        )
    except (PyAsn1Error, ValueError, TypeError, LookupError, RecursionError, OverflowError, AttributeError) as error:
        # pyasn1 names most but not all of what it meets in hostile input.
        raise MalformedMessage("not a message of RDCleanPath") from error
    if rest:
        raise MalformedMessage("more than one message")
    return request


def pack_response(x224: bytes, chain: Sequence[bytes], server: str) -> bytes:
    """The connection is there: the server's confirm, its certificates (leaf first), its address."""
    message = _Message()
    message["version"] = VERSION
    message["x224"] = x224
    message["chain"].extend(chain)
    message["server_addr"] = server
    return bytes(encoder.encode(message))


def pack_error(error: Error, x224: bytes = b"") -> bytes:
    """There is none. `x224` is the server's own refusal when it sent one."""
    message = _Message()
    message["version"] = VERSION
    message["error"]["code"] = error.code
    for name, value in (("http", error.http), ("wsa", error.wsa), ("alert", error.alert)):
        if value:
            message["error"][name] = value
    if x224:
        message["x224"] = x224
    return bytes(encoder.encode(message))


def tpkt_length(header: bytes) -> int:
    """The length of the packet with these first four bytes, header included. Raises Malformed."""
    whole = int.from_bytes(header[2:4])
    if len(header) < TPKT_HEADER or header[0] != _TPKT or not TPKT_HEADER + _X224_FIXED <= whole <= MAX_TPKT:
        raise MalformedMessage("not a TPKT packet")
    return whole


def check_connection_request(packet: bytes) -> None:
    """Raises Malformed when `packet` is not one X.224 connection request."""
    if tpkt_length(packet) != len(packet) or packet[5] & 0xF0 != _X224_REQUEST:
        raise MalformedMessage("not an X.224 connection request")


def chose_tls(confirm: bytes) -> bool:
    """Whether the server's confirm begins TLS; otherwise it refuses, or is older than that. Raises Malformed."""
    if tpkt_length(confirm) != len(confirm) or confirm[5] & 0xF0 != _X224_CONFIRM:
        raise MalformedMessage("not an X.224 connection confirm")
    negotiation = confirm[TPKT_HEADER + _X224_FIXED :]
    if len(negotiation) < _NEG_SIZE or negotiation[0] != _NEG_RESPONSE:
        return False
    return int.from_bytes(negotiation[4:8], "little") != _PROTOCOL_RDP
