"""Whether a version that lies here may be started from: signed by a trusted key, whole and unmodified."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..encryption import encrypted_version
from ..signing import verified
from ..signing.verified import Identity, Progress


def check(
    folder: Path,
    trusted: Sequence[str],
    memory: Path | None,
    key: bytes | None = None,
    progress: Progress | None = None,
    arrived: Mapping[str, Identity] | None = None,
) -> dict[str, Identity]:
    """Refuse what is not; `key` is the machine's own, of a version that lies here encrypted. Raises Refusal.

    Returns the identity of every file: as long as they are the same, the answer is (images/signing/verified).
    """
    if key is None or not encrypted_version.is_one(folder):
        return verified.ensure(folder, trusted, memory, progress, arrived)
    record = encrypted_version.read(folder, key)
    return verified.ensure(
        folder, trusted, memory, progress, compare=lambda signed: encrypted_version.check(folder, record, signed)
    )
