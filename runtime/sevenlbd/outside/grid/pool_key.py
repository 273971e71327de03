"""A wrapping key that the pool's service keeps, and gives this machine at each start: on its disk there is none."""

from __future__ import annotations

from pathlib import Path

from ...config.settings import KeyPlace
from .client import PoolClient, PoolDeclined
from .image_key import LOST, GivenSource
from .protocol import KeyOrder


def source(place: Path) -> GivenSource:
    """Of the machine whose grid's folder that is. Its methods raise PoolTrouble and Refusal."""
    return GivenSource(KeyPlace.POOL, lambda: _asked(place, ""), lambda key: _keep(place, key))


def _keep(place: Path, key: bytes) -> None:
    _asked(place, key.hex())


def _asked(place: Path, keep: str) -> bytes:
    try:
        return bytes.fromhex(PoolClient(place).key(KeyOrder(keep)).key)
    except PoolDeclined as declined:
        raise PoolDeclined(declined.code, declined.what, hint=declined.hint or LOST) from None
