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

from ..errors import ExitCode, Refusal

OFF = "off"
_BACKLOG = 512
_FORM = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<v4>[0-9.]+)|(?P<name>localhost)):(?P<first>\d+)(?:-(?P<last>\d+))?"
)


@dataclass(frozen=True)
class Place:
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


def parse(setting: str, text: str) -> Place | None:
    """A place of `ADDRESS:PORT` or `ADDRESS:FIRST-LAST`; None for none. Raises Refusal that names the setting."""
    if text in ("", OFF):
        return None
    found = _FORM.fullmatch(text)
    try:
        if not found:
            raise ValueError("it is not of the form ADDRESS:PORT or ADDRESS:FIRST-LAST")
        address = "127.0.0.1" if found["name"] else str(ipaddress.ip_address(found["v6"] or found["v4"]))
        first, last = int(found["first"]), int(found["last"] or found["first"])
        if not 0 <= first <= last <= 65535:
            raise ValueError("ports are 0 to 65535, the lower one first")
    except ValueError as error:
        hint = "for instance 127.0.0.1:0 (any free port), 0.0.0.0:20000-20999, [::1]:8443, or off"
        raise Refusal(ExitCode.USAGE, f"`{setting}` = {text}: {error}", hint=hint) from None
    return Place(address, first, last)


@contextmanager
def tcp(setting: str, place: Place) -> Iterator[socket.socket]:
    """A listening socket on the first free port of `place`. Raises Refusal when there is none."""
    listener = _first_free(setting, place)
    with listener:
        yield listener


def _first_free(setting: str, place: Place) -> socket.socket:
    family = socket.AF_INET6 if ":" in place.address else socket.AF_INET
    trouble = OSError()
    for port in range(place.first, place.last + 1):
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            # A port whose last session has just gone may be taken again, but never one that is listened on.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((place.address, port))
            listener.listen(_BACKLOG)
            return listener
        except OSError as error:
            listener.close()
            trouble = error
            if error.errno != errno.EADDRINUSE:
                break
    raise _refusal(setting, place, trouble)


def _refusal(setting: str, place: Place, error: OSError) -> Refusal:
    ports = str(place.first) if place.first == place.last else f"{place.first}-{place.last}"
    where = f"`{setting}`: {place.address}, port {ports}"
    match error.errno:
        case errno.EADDRINUSE:
            what = "is in use" if place.first == place.last else "are all in use"
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
