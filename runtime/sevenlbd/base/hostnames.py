"""Names and addresses of hosts: what is one, told by its spelling. Looks up nothing.

Names: RFC 952, RFC 1123 2.1, and the underscore that people use all the same. Where another grammar stands on purpose,
it is beside its reason.
"""

from __future__ import annotations

import ipaddress
import re

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
_MOST_NAME = 253  # letters; what fits the 255 bytes of RFC 1035, 2.3.4
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
# What the C library takes for an IPv4 address in another spelling (inet_aton(3)): 127.1, 0x7f000001.
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_NODE = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")


def address(text: str) -> IpAddress | None:
    """The address that is written, in its usual form, or None when it is something else."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def is_address(text: str) -> bool:
    """Whether it is an address, and no name."""
    return address(text) is not None


def is_number(text: str) -> bool:
    """Whether the C library would take it for an IPv4 address, in whatever spelling: no name ends in a number."""
    return bool(_NUMBER.fullmatch(text.removesuffix(".").rpartition(".")[2]))


def is_name(text: str) -> bool:
    """Whether it is a host's name, in lower case; one dot may end it, which says that it is whole."""
    name = text.removesuffix(".")
    return len(name) <= _MOST_NAME and all(map(_LABEL.fullmatch, name.split("."))) and not is_number(name)


def is_node_name(text: str) -> bool:
    """Whether it may be what somebody calls a node by, in lower case.

    Another grammar than `is_name`: it may be an IPv4 address, to which portals send browsers, too, and it is only
    compared with what a browser sends.
    """
    return bool(_NODE.fullmatch(text))
