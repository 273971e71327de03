"""What a guest asks the ways out for, and what name servers answer: one meaning, and nothing that the list has not."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from contextlib import suppress
from typing import Any

from sevenlbd.base import hostnames
from sevenlbd.outside.egress.relay import proxy, resolve, target
from sevenlbd.outside.egress.relay.allowed import Allowed, Pattern
from sevenlbd.outside.egress.relay.dialer import Unreached
from sevenlbd.outside.egress.relay.relay_context import RelayContext

from .target import Parse, Target, check_shown

_LIST = (Pattern("https", "*.example.edu", 443, 443), Pattern("http", "portal.example.edu", 80, 80))


def _authority() -> Parse:
    """CONNECT's and a request's target; what is a host is spelt one way, and read again as the same."""

    def parse(data: bytes) -> None:
        with suppress(target.MalformedTarget):
            _check(found := target.of_connect(data))
            assert target.of_connect(b"%s:%d" % (found.authority.rpartition(b":")[0] or found.authority, found.port))
        with suppress(target.MalformedTarget):
            found = target.of_request(data)
            _check(found)
            assert target.of_request(b"http://" + found.authority + found.path) == found
            assert not set(b"\r\n#") & set(found.path[:1])

    return parse


def _check(found: target.Target) -> None:
    assert 1 <= found.port <= 65535
    assert hostnames.is_name(found.host) or hostnames.is_address(found.host), found
    if target.is_listed(found, _LIST):
        assert found.host.endswith(".example.edu"), found


def _names() -> Parse:
    """Names and answers of name servers: what is believed is an address of a host that is not here."""

    def parse(data: bytes) -> None:
        text = data.decode("utf-8", "surrogateescape")
        for one in text.split("\n")[:8]:
            assert not (hostnames.is_name(one) and hostnames.is_address(one)), one
            if not resolve.unbelievable(one):
                address = ipaddress.ip_address(one)
                assert not address.is_loopback, one
                assert not address.is_link_local, one
                assert not address.is_multicast, one
                assert not address.is_unspecified, one

    return parse


class _Nobody:
    """Reaches no server, and remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, int]] = []

    async def connect(self, scheme: str, host: str, port: int, **_: Any) -> tuple[socket.socket, str]:
        self.asked.append((scheme, host, port))
        raise Unreached("nobody is there")


class _Journal:
    """Takes records, and shows what would stand in the site's list."""

    def add(self, record: Any) -> None:
        for text in (record.host, record.end):
            check_shown(str(text))


def _proxy() -> Parse:
    """Whole connections to the proxy. Nothing off the list is dialed, and it always comes to an end."""
    loop = asyncio.new_event_loop()

    async def visit(data: bytes) -> None:
        nobody: Any = _Nobody()
        journal: Any = _Journal()
        context = RelayContext(Allowed(proxy=_LIST), journal, nobody)
        near, guest = socket.socketpair()
        near.setblocking(False)
        guest.setblocking(False)
        context.slots.take()
        with suppress(BlockingIOError):
            guest.send(data)
        guest.shutdown(socket.SHUT_WR)
        async with asyncio.timeout(10):
            await proxy.ProxyVisit(context, b"page", near).run()
        guest.close()
        for scheme, host, port in nobody.asked:
            assert target.is_listed(target.Target(scheme, host, port), _LIST)

    return lambda data: loop.run_until_complete(visit(data))


def _proxy_seeds() -> tuple[bytes, ...]:
    return (
        b"CONNECT www.example.edu:443 HTTP/1.1\r\nHost: www.example.edu:443\r\n\r\n",
        b"GET http://portal.example.edu/a HTTP/1.1\r\nHost: portal.example.edu\r\n\r\n",
        b"POST http://portal.example.edu/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        b"GET /wpad.dat HTTP/1.1\r\nHost: x\r\n\r\n",
    )


def _authority_seeds() -> tuple[bytes, ...]:
    return (
        b"www.example.edu:443",
        b"[2001:db8::7]:443",
        b"192.0.2.7:1",
        b"http://portal.example.edu:80/a?b",
        b"http://[::1]/",
    )


def _name_seeds() -> tuple[bytes, ...]:
    return (
        b"127.0.0.1\n::1\nfe80::1%lo\n64:ff9b::7f00:1",
        b"2002:7f00:1::\n::ffff:127.0.0.1\nwww.example.edu.",
        b"0x7f.1\n224.0.0.1",
    )


TARGETS = (
    Target("proxy-target", _authority, ("sevenlbd.outside.egress", "sevenlbd.base"), _authority_seeds, 512),
    Target("dns-names", _names, ("sevenlbd.outside.egress", "sevenlbd.base", "ipaddress"), _name_seeds, 512),
    Target("proxy", _proxy, ("sevenlbd.outside.egress", "h11"), _proxy_seeds),
)
