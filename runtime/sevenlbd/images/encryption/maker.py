"""A process that makes what an encrypted session begins with: python -I -m sevenlbd.images.encryption.maker.

The order is JSON on standard input, so that no key stands in an argument. Its library is large, and needed for a
moment. What it cannot do it says on standard output.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from ..cache.sparse import extents, opened
from . import encrypted_disk
from .encrypted_file import PIECE, SealedFile


def main() -> None:
    """Make the disk `path` of `size` bytes that `key` opens; and fill memory by `copies` of files."""
    order = json.load(sys.stdin)
    try:
        encrypted_disk.make(Path(order["path"]), order["size"], order["key"])
        for copy in order["copies"]:
            _fill(copy)
    except OSError as error:
        print(error.strerror)
        sys.exit(1)


def _fill(copy: dict[str, Any]) -> None:
    """Copy a file to a descriptor, without its holes; one that has a `key` is decrypted. Raises OSError."""
    target = copy["into"]
    with opened(Path(copy["source"])) as source:
        if copy["key"]:
            _decrypt(SealedFile.opened(source, copy["size"], copy["key"]), target)
            return
        for start, end in extents(source, 0, os.fstat(source).st_size):
            at = os.lseek(target, start, os.SEEK_SET)
            while at < end:
                at += os.sendfile(target, source, at, end - at)


def _decrypt(sealed: SealedFile, target: int) -> None:
    """Raises OSError, also when a piece is not what was put there: its MAC tells."""
    os.ftruncate(target, sealed.size)
    for start, end in sealed.extents():
        for number in range(start, end):
            _, piece = sealed.piece(number)
            if piece == b"":
                raise OSError(0, "the image's warm memory was altered: remove the image, and it is fetched anew")
            if piece:
                os.pwrite(target, piece, number * PIECE)


if __name__ == "__main__":
    main()
