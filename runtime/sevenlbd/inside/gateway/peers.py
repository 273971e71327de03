"""Whose connection it is: the user's, a neighbour's on this node, or an address's.

A neighbour on the node can call from any address of the node, loopback's sixteen million among them, and the user calls
from the same ones. The kernel knows who owns the other end of such a connection; it is asked through a socket that was
opened outside, since in here there is another network, and that can learn nothing else
(`outside/access/peer_socket.py`). Source: sock_diag(7).
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import struct
from functools import lru_cache

MINE, NODE = "mine", "node"

_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr
_QUESTION = struct.Struct("=BBBBI")  # struct inet_diag_req_v2, up to its id
_ID = struct.Struct("!HH16s16s4s8s")  # struct inet_diag_sockid
_BY_FAMILY, _REQUEST = 20, 1  # <linux/sock_diag.h>, SOCK_DIAG_BY_FAMILY; <linux/netlink.h>, NLM_F_REQUEST
_ANY_STATE, _NO_COOKIE, _ANY_INTERFACE = 0xFFFFFFFF, b"\xff" * 8, bytes(4)
_UID = struct.Struct("=I")
_UID_AT = _HEADER.size + 4 + _ID.size + 12  # of struct inet_diag_msg
_ANSWER = 128  # bytes; both headers have 88, and the attributes behind them may be cut off
_V6_SITE = 64  # bits; a host may have any address of its link (RFC 4291, 2.5.1)

Address = tuple[str, int] | tuple[str, int, int, int]


class Peers:
    """Puts connections into groups."""

    def __init__(self, wire: socket.socket | None) -> None:
        """Without a `wire` to ask by, all of the node is one group."""
        self._wire = wire
        self._asked = 0
        self._me = os.getuid()
        if wire:
            wire.setblocking(False)

    def group(self, ours: Address, theirs: Address) -> str:
        """The group of a connection to `ours` from `theirs`."""
        here, there = _plain(ours[0]), _plain(theirs[0])
        owner = self._owner(_id(there, theirs[1], here, ours[1]), there.version)
        if owner is not None:
            return MINE if owner == self._me else NODE
        if there.is_loopback:
            return NODE  # it has gone already
        if there.version == 6:
            return str(ipaddress.ip_network((there, _V6_SITE), strict=False))
        return str(there)

    def _owner(self, connection: bytes, version: int) -> int | None:
        """Who has the other end; None when it is not on this node, or not to be learnt."""
        if not self._wire:
            return None
        family = socket.AF_INET6 if version == 6 else socket.AF_INET
        question = _QUESTION.pack(family, socket.IPPROTO_TCP, 0, 0, _ANY_STATE) + connection
        self._asked = (self._asked + 1) & 0xFFFFFFFF
        try:
            self._wire.send(_HEADER.pack(_HEADER.size + len(question), _BY_FAMILY, _REQUEST, self._asked, 0) + question)
            answer = self._wire.recv(_ANSWER)
            while len(answer) >= _HEADER.size and _HEADER.unpack_from(answer)[3] != self._asked:
                answer = self._wire.recv(_ANSWER)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.ENOBUFS):
                self._wire = None
            return None
        if len(answer) < _UID_AT + _UID.size or _HEADER.unpack_from(answer)[1] != _BY_FAMILY:
            return None
        return int(_UID.unpack_from(answer, _UID_AT)[0])


@lru_cache(1024)
def _plain(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """An address as its own family has it: a socket of both families writes IPv4's as ::ffff:a.b.c.d."""
    address = ipaddress.ip_address(text.partition("%")[0])
    return (address.ipv4_mapped or address) if address.version == 6 else address


def _id(
    there: ipaddress.IPv4Address | ipaddress.IPv6Address,
    their_port: int,
    here: ipaddress.IPv4Address | ipaddress.IPv6Address,
    our_port: int,
) -> bytes:
    return _ID.pack(their_port, our_port, there.packed, here.packed, _ANY_INTERFACE, _NO_COOKIE)
