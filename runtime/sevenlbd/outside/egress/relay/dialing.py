"""Between relay and broker: what the relay wishes for, and what came of it, with the connected socket if there is one.

The broker takes a wish as hostile: what is not of its type counts as not said, so that the answer says what is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

from ....wire.codec import Codec, Lenient

PING = "ping"


@dataclass(frozen=True)
class Wish:
    """A connection; `want` as in the orders' schemes, or PING, which is answered and no more."""

    id: int
    want: Lenient[str] = ""
    host: Lenient[str | None] = None
    port: Lenient[int | None] = None
    small: Lenient[bool] = False


@dataclass(frozen=True)
class Outcome:
    """To the wish of that number. `why` there is no connection; None when there is one, or none was wished for."""

    id: int
    address: str = ""
    """The last one that was tried, if one was."""
    why: str | None = None


WISHES: Codec[Wish] = Codec(Wish)
OUTCOMES: Codec[Outcome] = Codec(Outcome)
