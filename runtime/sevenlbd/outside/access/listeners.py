"""The connectors' listening sockets: bound out here, before anything else of the session; served inside."""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ...base.errors import ExitCode, Refusal

OFF = "off"
# As many as the kernel lets wait by default (net.core.somaxconn, Linux 5.4 and later).
_BACKLOG = 4096
# No such protocol, or a node that has switched it off (ipv6.disable, disable_ipv6).
_NO_IPV6 = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
_FORM = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<v4>[0-9.]+)|(?P<name>localhost)):(?P<first>\d+)(?:-(?P<last>\d+))?"
)


@dataclass(frozen=True)
class ListenAddress:
    """Where to listen: an address of this node and a range of ports; port 0 is any that is free."""

    address: str
    first: int
    last: int

    @property
    def is_loopback(self) -> bool:
        """Whether only this node reaches it."""
        return ipaddress.ip_address(self.address).is_loopback

    @property
    def is_everywhere(self) -> bool:
        """Whether it is every address of this node."""
        return ipaddress.ip_address(self.address).is_unspecified


def parse(setting: str, text: str) -> ListenAddress | None:
    """A place of `ADDRESS:PORT` or `ADDRESS:FIRST-LAST`; None for none. Raises Refusal that names the setting."""
    if text in ("", OFF):
        return None
    match = _FORM.fullmatch(text)
    try:
        if not match:
            raise ValueError("it is not of the form ADDRESS:PORT or ADDRESS:FIRST-LAST")
        address = "127.0.0.1" if match["name"] else str(ipaddress.ip_address(match["v6"] or match["v4"]))
        first, last = int(match["first"]), int(match["last"] or match["first"])
        if not 0 <= first <= last <= 65535:
            raise ValueError("ports are 0 to 65535, the lower one first")
    except ValueError as error:
        hint = "for instance 127.0.0.1:0 (any free port), 0.0.0.0:20000-20999, [::1]:8443, or off"
        raise Refusal(ExitCode.USAGE, f"`{setting}` = {text}: {error}", hint=hint) from None
    return ListenAddress(address, first, last)


@contextmanager
def tcp(setting: str, endpoint: ListenAddress) -> Iterator[socket.socket]:
    """A listening socket on the first port of `endpoint` that is free for all of it. Raises Refusal for none."""
    listener = _first_free(setting, endpoint)
    with listener:
        yield listener


def _first_free(setting: str, endpoint: ListenAddress) -> socket.socket:
    trouble = OSError()
    for port in range(endpoint.first, endpoint.last + 1):
        try:
            return _listening_everywhere(port) if endpoint.is_everywhere else _listening(endpoint.address, port)
        except OSError as error:
            trouble = error
            if error.errno != errno.EADDRINUSE:
                break
    raise _refusal(setting, endpoint, trouble)


def _listening_everywhere(port: int) -> socket.socket:
    """Both families by one socket, so that nobody else can have the port in either. Raises OSError.

    The node's name may have addresses of both: a stranger who held the port in the other one would be given the key.
    """
    try:
        return _listening("::", port)
    except OSError as error:
        if error.errno not in _NO_IPV6:
            raise
    return _listening("0.0.0.0", port)


def _listening(address: str, port: int) -> socket.socket:
    """A listening socket at the address. Raises OSError."""
    listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        # A port whose last session has just gone may be taken again, but never one that is listened on.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if address == "::":
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind((address, port))
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _refusal(setting: str, endpoint: ListenAddress, error: OSError) -> Refusal:
    ports = str(endpoint.first) if endpoint.first == endpoint.last else f"{endpoint.first}-{endpoint.last}"
    where = f"`{setting}`: {endpoint.address}, port {ports}"
    match error.errno:
        case errno.EADDRINUSE:
            what = "is in use" if endpoint.first == endpoint.last else "are all in use"
            return Refusal(ExitCode.RESOURCES, f"{where} {what} on this node", hint="choose another, or 0 for any")
        case errno.EADDRNOTAVAIL:
            what = f"{where}: {os.uname().nodename} has no such address"
            return Refusal(ExitCode.USAGE, what, hint="0.0.0.0 is every address of the node, 127.0.0.1 the node itself")
        case errno.EACCES:
            what = f"{where} is not for ordinary users"
            return Refusal(ExitCode.USAGE, what, hint="take a port from 1024 on")
    return Refusal(ExitCode.NODE, f"{where} cannot be listened on: {error.strerror}", hint="choose another")


@contextmanager
def unix(path: Path) -> Iterator[socket.socket]:
    """A listening Unix socket, mode 0600."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(_BACKLOG)
        yield listener
