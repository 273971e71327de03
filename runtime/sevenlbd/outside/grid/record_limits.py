"""What a record of the protocol may hold, whoever has sent it.

Each check raises Malformed, which says what was wrong and nothing of what stood there.
"""

from __future__ import annotations

import math
import re

from ...base import hostnames
from ...images import names
from ...wire.codec import Malformed

MOST_DEMANDS = 1000  # a guess: names that jobs wait for at once, times the sizes that they ask for
MOST_IMAGES = 1000  # a guess: a large site has dozens
MOST_FILES = 64  # of a version; with a warm state and a signature there are about ten
MOST_SLOTS = 256  # a guess: VMs of one machine
_MOST = 1 << 53  # of any count, as JSON's numbers go (RFC 8259, 6)
_MOST_TOKEN = 8 << 10  # letters; HTCondor's are of some 500
HASH = re.compile(r"[0-9a-f]{64}")  # also a key's 256 bits
_SECRET = re.compile(r"[A-Za-z0-9._~+/=-]+")  # what a header may hold (RFC 6750, 2.1)
_PIECE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_DEEPEST = 4  # folders of a file in a version; there is one, of the warm state
_MOST_MACHINE = 63  # letters, as of a host's first label


def is_machine(text: str) -> bool:
    """Whether a machine may be called so: it becomes a file's name and part of an attribute in the pool."""
    return len(text) <= _MOST_MACHINE and hostnames.is_node_name(text) and ".." not in text


def is_file(text: str) -> bool:
    """Whether a version may have a file of that path."""
    pieces = text.split("/")
    return len(pieces) <= _DEEPEST and all(_PIECE.fullmatch(piece) and ".." not in piece for piece in pieces)


def need(good: object, what: str) -> None:
    if not good:
        raise Malformed(what)


def need_counts(*numbers: int) -> None:
    need(all(0 <= number < _MOST for number in numbers), "a number makes no sense")


def need_secret(text: str) -> None:
    need(len(text) <= _MOST_TOKEN and _SECRET.fullmatch(text), "a secret is none")


def need_moment(seconds: float) -> None:
    need(math.isfinite(seconds) and 0 <= seconds < _MOST, "a time makes no sense")


def need_version(name: str, version: str) -> None:
    need(names.is_name(name) and names.is_version(version), "an image's name is none")


def need_address(text: str) -> None:
    host, colon, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    known = hostnames.is_address(bare) or hostnames.is_name(host.lower())
    good = colon and known and re.fullmatch(r"[0-9]{1,5}", port) and 0 < int(port) < 1 << 16
    need(good, "an address is none")
