"""What wraps the keys of machines' encrypted images: kept here, so that a disk alone is worth nothing.

Each lies in a file of its own, under its machine's enrolment. It is given to that machine while it is one of ours, from
where the site lets it be, and is removed when the machine is revoked: from then on nobody opens that disk.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ....base import atomic, foreign_files
from .pool_folder import KEYS, REVOKED

_MOST_BYTES = 200  # of a file: 64 digits and an end of line


class MachineKeys:
    """All of them, in the folder of the service."""

    def __init__(self, place: Path, networks: Sequence[str] = ()) -> None:
        """They are given in these networks only; without any, everywhere."""
        self._place = place
        self._networks = [ipaddress.ip_network(network) for network in networks]

    def is_near(self, address: str) -> bool:
        """Whether keys are given there."""
        if not self._networks:
            return True
        try:
            known = ipaddress.ip_address(address.partition("%")[0])  # without the interface of a link's own (RFC 4007)
        except ValueError:
            return False
        if isinstance(known, ipaddress.IPv6Address) and known.ipv4_mapped:
            known = known.ipv4_mapped
        return any(known in network for network in self._networks)

    def keep(self, enrolment: str, key: str) -> None:
        """In place of another, if there is one; on the disk when this returns. Raises OSError."""
        atomic.replace(self._place / KEYS / enrolment, f"{key}\n".encode(), lasting=True)

    def give(self, enrolment: str) -> str:
        """The key; empty when there is none. Raises OSError."""
        try:
            return foreign_files.read(self._place / KEYS, enrolment, _MOST_BYTES).decode("ascii", "replace").strip()
        except FileNotFoundError:
            return ""


def is_kept(place: Path, enrolment: str) -> bool:
    """Whether the service has a key of it."""
    return (place / KEYS / enrolment).is_file()


def forget(place: Path, enrolment: str) -> None:
    """Nobody opens that machine's disk any more. Raises OSError."""
    with suppress(FileNotFoundError):
        (place / KEYS / enrolment).unlink()
        atomic.to_disk(place / KEYS)


def sweep(place: Path) -> None:
    """Forget what a crash has left: of a machine that was revoked, or written by half. Raises OSError."""
    with os.scandir(place / KEYS) as entries:
        names = [entry.name for entry in entries]
    for name in names:
        if name.startswith(".") or (place / REVOKED / name).exists():
            forget(place, name)
