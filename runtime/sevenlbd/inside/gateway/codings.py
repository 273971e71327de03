"""Which coding of a file a browser is sent: what it says that it takes (RFC 9110, 12.5.3), and what there is."""

from __future__ import annotations

import re

CODINGS = ("br", "gzip")
"""What the pages are also there in, the smallest first."""
IDENTITY = "identity"

# RFC 9110, 12.4.2: at most three digits behind the point.
_WEIGHT = re.compile(r"(?:0(?:\.\d{0,3})?|1(?:\.0{0,3})?)")


def preferred(accepted: str, there: frozenset[str]) -> str:
    """The coding of `there` that is wanted most, of equals the smallest; `identity` when it is none of them.

    Who refuses even that gets it all the same, as the RFC lets a server do: a page is of more use than an error.
    """
    weights = _weights(accepted)
    best, most = IDENTITY, weights.get(IDENTITY, 0.0)
    for coding in reversed(CODINGS):
        weight = weights.get(coding, weights.get("*", 0.0))
        if coding in there and weight > 0 and weight >= most:
            best, most = coding, weight
    return best


def _weights(accepted: str) -> dict[str, float]:
    """Each coding that is named, and how much it is wanted, from 0 to 1; what is no weight is none."""
    found: dict[str, float] = {}
    for item in accepted.lower().split(","):
        name, _, rest = item.partition(";")
        key, _, value = rest.strip().partition("=")
        if not name.strip():
            continue
        if not rest.strip():
            weight = 1.0
        else:
            weight = float(value) if key.strip() == "q" and _WEIGHT.fullmatch(value.strip()) else 0.0
        found["gzip" if name.strip() == "x-gzip" else name.strip()] = weight
    return found
