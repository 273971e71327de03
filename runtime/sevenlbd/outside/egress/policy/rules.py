"""What a site writes of the ways out, read: `egress_allow` and `egress_hosts`. Looks up nothing.

    tcp://HOST:PORT[-LAST]    udp://HOST:PORT[-LAST]    HOST is a name, an IPv4 address, or an IPv6 one in []
    https://PATTERN[:PORT[-LAST]]    http://PATTERN[:PORT[-LAST]]    by the proxy; PATTERN is HOST or *.NAME

What a name is, `base.hostnames` says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ....base import hostnames
from ....base.errors import ExitCode, Refusal
from ..relay.allowed import Pattern
from ..relay.resolve import unusable

_ENTRY = re.compile(
    r"(?P<scheme>[a-z]+)://(?P<host>\[[^\[\]/@?#]*\]|[^\[\]/@?#:]*)(?::(?P<first>\d{1,5})(?:-(?P<last>\d{1,5}))?)?",
    re.ASCII,
)
_USUAL = {"http": 80, "https": 443}
_MAX_PORT = 65535  # RFC 9293, 3.1: 16 bits
_HINT = "tcp://HOST:PORT[-LAST], udp://HOST:PORT[-LAST] or https://PATTERN[:PORT]; see docs/egress.md"


@dataclass(frozen=True)
class EgressEntry:
    """One entry of `egress_allow`. `host` is a name or a pattern in lower case, or an address in its usual form."""

    text: str
    scheme: str
    host: str
    first: int
    last: int

    @property
    def by_proxy(self) -> bool:
        """Whether the proxy carries it, name and all, instead of a forward of its own."""
        return self.scheme in _USUAL

    @property
    def ports(self) -> range:
        return range(self.first, self.last + 1)

    @property
    def pattern(self) -> Pattern:
        """The proxy's word for it."""
        return Pattern(self.scheme, self.host, self.first, self.last)


def parse(text: str) -> EgressEntry:
    """An entry of `egress_allow`. Raises Refusal for one that is none, or leads where nothing may lead."""
    match = _ENTRY.fullmatch(text.strip().lower())
    if not match:
        raise _refusal(text, "that is not a way out")
    scheme, usual = match["scheme"], _USUAL.get(match["scheme"], 0)
    if scheme not in ("tcp", "udp", "http", "https"):
        raise _refusal(text, f"`{scheme}` is none of tcp, udp, http and https")
    first = int(match["first"] or usual)
    last = int(match["last"] or first)
    if not 1 <= first <= last <= _MAX_PORT:
        raise _refusal(text, "it has no port" if not match["first"] else f"its ports are not within 1 to {_MAX_PORT}")
    return EgressEntry(text.strip(), scheme, _host(text, match["host"], pattern=bool(usual)), first, last)


def hosts(entries: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """`egress_hosts`: where hosts are, each with its addresses in the order given. Raises Refusal."""
    addresses_of: dict[str, tuple[str, ...]] = {}
    for text in entries:
        name, _, written = (part.strip() for part in text.lower().partition("="))
        address = hostnames.address(written)
        if not hostnames.is_name(name) or address is None:
            raise Refusal(
                ExitCode.USAGE,
                f"`egress_hosts`: `{text}` is not NAME=ADDRESS",
                hint="for instance license.example.edu=192.0.2.10",
            )
        if why := unusable(address):
            raise Refusal(ExitCode.USAGE, f"`egress_hosts`: `{text}` {why}", hint="name the host's own address")
        if str(address) not in addresses_of.get(name, ()):
            addresses_of[name] = (*addresses_of.get(name, ()), str(address))
    return addresses_of


def _host(text: str, written: str, *, pattern: bool) -> str:
    if written.startswith("[") or hostnames.address(written):
        address = hostnames.address(written.strip("[]"))
        if address is None or (written.startswith("[") and address.version != 6):
            raise _refusal(text, f"`{written}` is not an IPv6 address")
        if why := unusable(address):
            raise _refusal(text, f"{address} {why}")
        if address.is_loopback and not pattern:
            raise _refusal(text, f"{address} means the guest itself, in the guest")
        return str(address)
    if written == "*":
        raise _refusal(
            text, "`*` would let everything through", hint="name the hosts, or a domain: https://*.example.edu"
        )
    name = written.removeprefix("*.") if pattern else written
    if not hostnames.is_name(name):
        raise _refusal(text, f"`{written}` is neither a host's name nor an address{_puny(written)}")
    return written.removesuffix(".")


def _puny(name: str) -> str:
    return "" if name.isascii() else ", in the letters that DNS has (xn--...)"


def _refusal(text: str, why: str, *, hint: str = _HINT) -> Refusal:
    return Refusal(ExitCode.USAGE, f"`egress_allow`: `{text}`: {why}", hint=hint)
