"""The addresses of the guest's link, the same in every session: both sides and every image know them.

169.254.100.0/24 is BYU's choice, which its images expect. The IPv6 prefix (RFC 4193) is there with IPv6 ways out only.
"""

from __future__ import annotations

HOST = "169.254.100.2"
GUEST = "169.254.100.15"
NAME_SERVER = "169.254.100.3"
"""QEMU's own, of a session whose network is QEMU's: it wants an address that is not the host's."""
SUBNET = "169.254.100.0/24"
PREFIX_LENGTH = 24  # of SUBNET
MAC = "52:54:00:07:1b:d0"
"""The guest's card, locally administered (IEEE 802, 8.4): an image, and a desktop that goes on, remembers it."""
HOST_V6 = "fd07:1bd0:6400::2"
SUBNET_V6 = "fd07:1bd0:6400::/64"
PREFIX_LENGTH_V6 = 64  # of SUBNET_V6; a guest makes itself an address in a /64 only (RFC 4862, 5.5.3; RFC 4291, 2.5.1)
