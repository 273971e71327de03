"""What the grid's folders are called below that of their user's state: keys and tokens lie in them."""

from __future__ import annotations

MACHINE = "grid"
"""Of a machine that is lent: its membership, the key of its images, its coordinator's files."""
POOL = "grid-pool"
"""Of the pool's service, where the site names no other."""
