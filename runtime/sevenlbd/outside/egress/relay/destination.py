"""Where a connection leads to, as the journal tells it."""

from __future__ import annotations

from typing import NamedTuple


class Destination(NamedTuple):
    """`kind` is `tcp`, `udp`, or of the proxy `connect`, `http` and `proxy`; what is not known is empty, or 0."""

    kind: str
    host: str
    address: str
    port: int
