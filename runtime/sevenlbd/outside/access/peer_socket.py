"""A socket by which the gateway, in its own network, can ask who on this node owns the other end of a connection to it.

The kernel tells everybody about every socket of a network (sock_diag(7)); what is inside must not learn that of the
node. So a filter that cannot be taken off again lets through the answers about connections to our own port alone, and
of those the part that says whose they are. Sources: socket(7) SO_ATTACH_FILTER and SO_LOCK_FILTER, linux/inet_diag.h.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

_NETLINK_SOCK_DIAG = 4  # <linux/netlink.h>
_SO_ATTACH_FILTER, _SO_LOCK_FILTER = 26, 44  # <asm-generic/socket.h>

# Classic BPF (linux/bpf_common.h): loads are big-endian, netlink's header is little-endian on this architecture.
_LOAD_BYTE, _LOAD_HALF, _IF_EQUAL, _RETURN = 0x30, 0x28, 0x15, 0x06
_TYPE_AT, _FAMILY_AT, _PORT_AT = 4, 16, 22  # of nlmsghdr: type; of inet_diag_msg behind it: family, the peer's port
_BY_FAMILY = 0x1400  # SOCK_DIAG_BY_FAMILY; an error is not let through, or it would tell what there is not
_ANSWER_SIZE = 88  # inet_diag_msg without what may follow: another message


@contextmanager
def opened(port: int) -> Iterator[socket.socket | None]:
    """The socket, for connections to `port`; None where the kernel has none: then a neighbour is known by address."""
    try:
        wire = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG)
    except OSError:
        yield None
        return
    with wire:
        try:
            _narrow(wire, port)
        except OSError:
            yield None
        else:
            yield wire


def _narrow(wire: socket.socket, port: int) -> None:
    """Raises OSError."""
    program = [
        (_LOAD_HALF, 0, 0, _TYPE_AT),
        (_IF_EQUAL, 0, 5, _BY_FAMILY),
        (_LOAD_BYTE, 0, 0, _FAMILY_AT),
        (_IF_EQUAL, 1, 0, socket.AF_INET),
        (_IF_EQUAL, 0, 2, socket.AF_INET6),
        (_LOAD_HALF, 0, 0, _PORT_AT),
        (_IF_EQUAL, 1, 0, port),
        (_RETURN, 0, 0, 0),
        (_RETURN, 0, 0, _ANSWER_SIZE),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in program))
    wire.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(program), ctypes.addressof(code)))
    wire.setsockopt(socket.SOL_SOCKET, _SO_LOCK_FILTER, 1)
