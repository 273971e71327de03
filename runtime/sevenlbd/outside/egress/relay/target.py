"""What a request to the proxy asks for, and whether it may have it. Takes nothing in two meanings.

CONNECT has HOST:PORT, other methods an address http://HOST[:PORT]/... (RFC 9112, 3.2.2 and 3.2.3). A host is a name in
lower case or an address in its usual form; every other spelling of an address (inet_aton(3), [::ffff:...]) is no host.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass

from ....base import hostnames
from .allowed import Pattern

_AUTHORITY = re.compile(rb"(\[[0-9a-f:.]{2,45}\]|[a-z0-9_.-]{1,255})(?::([0-9]{1,5}))?", re.IGNORECASE)
_URL = re.compile(rb"http://([^/?#]*)([/?][^#]*)?", re.IGNORECASE)
_MAX_PORT = 65535  # RFC 9293, 3.1: 16 bits


class MalformedTarget(Exception):
    """Not an address that a proxy is asked for."""


@dataclass(frozen=True)
class Target:
    """Where to. `path` is what the server is asked for, empty for CONNECT."""

    scheme: str
    host: str
    port: int
    path: bytes = b""

    @property
    def authority(self) -> bytes:
        """As the Host field wants it (RFC 9110, 7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (host if self.port == 80 else f"{host}:{self.port}").encode()


def of_connect(text: bytes) -> Target:
    """The target of a CONNECT. Raises Malformed."""
    host, port = _place(text)
    if port is None:
        raise MalformedTarget("CONNECT needs HOST:PORT")
    return Target("https", host, port)


def of_request(text: bytes) -> Target:
    """The target of any other method. Raises Malformed."""
    match = _URL.fullmatch(text)
    if not match:
        raise MalformedTarget("a proxy is asked for http://HOST[:PORT]/..., or by CONNECT")
    host, port = _place(match[1])
    path = match[2] or b"/"
    return Target("http", host, 80 if port is None else port, path if path.startswith(b"/") else b"/" + path)


def is_listed(target: Target, patterns: Iterable[Pattern]) -> bool:
    """Whether one of the patterns lets it through."""
    return any(
        pattern.scheme == target.scheme
        and pattern.first <= target.port <= pattern.last
        and _matches(target.host, pattern.host)
        for pattern in patterns
    )


def _matches(host: str, pattern: str) -> bool:
    if pattern.startswith("*."):
        return host.endswith(pattern[1:]) and len(host) >= len(pattern)
    return host == pattern


def _place(text: bytes) -> tuple[str, int | None]:
    match = _AUTHORITY.fullmatch(text)
    if not match:
        raise MalformedTarget("that is not HOST:PORT")
    port = None if match[2] is None else int(match[2])
    if port is not None and not 1 <= port <= _MAX_PORT:
        raise MalformedTarget("that is not a port")
    return _host(match[1].decode("ascii").lower()), port


def _host(text: str) -> str:
    try:
        if text.startswith("["):
            return str(ipaddress.IPv6Address(text[1:-1]))
        if hostnames.is_number(text):
            return str(ipaddress.IPv4Address(text))
    except ValueError:
        raise MalformedTarget("that is not an address in its usual form") from None
    if not hostnames.is_name(text):
        raise MalformedTarget("that is not a host's name")
    return text.removesuffix(".")
