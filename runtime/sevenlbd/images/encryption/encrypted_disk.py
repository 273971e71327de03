"""An empty qcow2 disk that is encrypted with LUKS. Source: QEMU, docs/interop/qcow2.rst.

Every cluster that a guest writes is encrypted; where which cluster lies is not.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

from ..qcow2 import MAGIC
from . import luks

_BITS = 17  # clusters of 128 KiB, as of every overlay (outside/session/overlay_disk.py)
_CLUSTER = 1 << _BITS  # bytes
_LUKS, _EXTENDED_L2, _LAZY_REFCOUNTS = 2, 1 << 4, 1 << 0  # the header's method, and bits of its features (qcow2.rst)
_L2_ENTRY = 16  # bytes, with its sub-clusters' bits
_COVERED = (_CLUSTER // _L2_ENTRY) << _BITS  # bytes of the disk that one L2 table is for
_HEADER = struct.Struct(">4sIQIIQIIQQIIQQQQIIQ")
_CRYPTO = struct.Struct(">IIQQ")  # header extension: where the LUKS header lies, and how long it is
_CRYPTO_KIND = 0x0537BE77  # qcow2.rst, "Full disk encryption header pointer"
_ORDER = 4  # refcounts of 16 bits


def make(path: Path, size: int, passphrase: str) -> None:
    """A new file, mode 0600, with an empty disk of `size` bytes that `passphrase` opens. Raises OSError."""
    tables = max(1, -(-size // _COVERED))
    table_clusters = -(-tables * 8 // _CLUSTER)
    luks_at = 3 + table_clusters  # behind the header, the table of refcounts, its one block, and the L1 table
    used = luks_at + -(-luks.PAYLOAD // _CLUSTER)
    header = _HEADER.pack(
        *(MAGIC, 3, 0, 0, _BITS, size, _LUKS, tables, 3 * _CLUSTER, _CLUSTER, 1, 0, 0),
        *(_EXTENDED_L2, _LAZY_REFCOUNTS, 0, _ORDER, _HEADER.size, 0),
    )
    crypto = _CRYPTO.pack(_CRYPTO_KIND, 16, luks_at * _CLUSTER, luks.PAYLOAD)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(header + crypto)
        file.seek(_CLUSTER)
        file.write(struct.pack(">Q", 2 * _CLUSTER))
        file.seek(2 * _CLUSTER)
        file.write(struct.pack(">H", 1) * used)
        file.seek(luks_at * _CLUSTER)
        file.write(luks.header(passphrase)[0])
        file.truncate(used * _CLUSTER)
