"""What a client says first, told with its WebSocket's handshake: on a slow line each answer less to wait for is felt.

It is the client's own: a browser keeps what its last visit began with, and the page sees whether its client says the
same again. So nothing is said in a client's stead, and nothing of its log-in is known here.
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from .gate import UNUSED, Gate, Watcher
from .responses import Refused

_SAID = re.compile(r"[A-Za-z0-9_-]{1,1400}")  # a guess: a client's have 150 and 80; a request's line may have 8 KiB
_UNUSED_SECONDS = 10.0  # what a client that tells nothing ahead has for its request (desktop.py)


@dataclass(frozen=True)
class Ahead:
    """The first two messages of a client."""

    request: bytes
    """RDCleanPath's."""
    hello: bytes
    """To the guest, within TLS: the log-in's beginning, which is alike each time. May be empty."""


def from_query(query: Mapping[str, str]) -> Ahead | None:
    """What a handshake's address says of it, if anything. Raises Refused."""
    if "ask" not in query:
        return None
    return Ahead(said("ask", query["ask"]), said("hello", query["hello"]) if "hello" in query else b"")


def said(name: str, text: object) -> bytes:
    """A message as it is told: `text` in base64url (RFC 4648 section 5). Raises Refused."""
    # In that coding one character more than a multiple of four stands for nothing.
    if not isinstance(text, str) or not _SAID.fullmatch(text) or len(text) % 4 == 1:
        raise Refused(400, f"'{name}' is what a client says first", "base64url (RFC 4648, section 5), without padding")
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Unused:
    """A connection with the guest whose client has said nothing yet. It takes the desktop from nobody."""

    def __init__(self, gate: Gate, watcher: Watcher) -> None:
        self._waiting, self._watcher = gate.unused, watcher
        # A tab may never come to use it, and the guest is not to hold many: each visitor has one, for so long.
        if before := self._waiting.get(watcher.visitor.nonce):
            before.end(UNUSED, "a newer one was opened")
        self._waiting[watcher.visitor.nonce] = watcher
        loop = asyncio.get_running_loop()
        self._end = loop.call_later(_UNUSED_SECONDS, watcher.end, UNUSED, "nothing was said on it")

    def over(self) -> None:
        """Its client has spoken, or it has gone."""
        self._end.cancel()
        if self._waiting.get(self._watcher.visitor.nonce) is self._watcher:
            del self._waiting[self._watcher.visitor.nonce]


@contextmanager
def unused(gate: Gate, watcher: Watcher) -> Iterator[Unused]:
    """Such a connection, at the latest until the block is left."""
    it = Unused(gate, watcher)
    try:
        yield it
    finally:
        it.over()
