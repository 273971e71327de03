"""A disk that an appliance has in pieces, or compressed, made one file in a scratch folder.

No more is written than the disk can need: a few kilobytes can unpack to any number of terabytes.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from ...base.errors import ExitCode, Refusal
from ..formats import Piece, piece
from .ova import Appliance

_STEP = 4 << 20  # bytes; a guess between many calls and much memory
_GZIP = 16 + zlib.MAX_WBITS  # zlib's manual, inflateInit2: 16 more for gzip's header
# Beside the disk's content there are tables, and headers.
_SLACK = 64 << 20


def joined(appliance: Appliance, scratch: Path, report: Callable[[int], None]) -> Piece:
    """The disk as a file in `scratch`. Raises Refusal, OSError."""
    parts = _content(appliance.pieces, report)
    most = sum(part.size for part in appliance.pieces)
    if appliance.packed:
        if not appliance.capacity:
            raise _refused(appliance, "is compressed, and how large it is the description does not say")
        parts, most = _inflated(appliance, parts), appliance.capacity + appliance.capacity // 64 + _SLACK
    target = scratch / "disk"
    with target.open("wb") as file:
        for part in parts:
            most -= len(part)
            if most < 0:
                raise _refused(appliance, "unpacks to more than a disk of its size can be", "this may be an attack")
            _append(file.fileno(), part)
        os.ftruncate(file.fileno(), os.lseek(file.fileno(), 0, os.SEEK_CUR))
    return piece(target)


def _refused(appliance: Appliance, what: str, hint: str = "unpack it, and add the disk by its own name") -> Refusal:
    return Refusal(ExitCode.IMAGE, f"{appliance.pieces[0].path}: its disk `{appliance.name}` {what}", hint=hint)


def _append(descriptor: int, part: bytes) -> None:
    """Write `part`, or leave a hole where it is nothing but zeroes."""
    if part.strip(b"\0"):
        view = memoryview(part)
        while view:
            view = view[os.write(descriptor, view) :]
    else:
        os.lseek(descriptor, len(part), os.SEEK_CUR)


def _content(pieces: tuple[Piece, ...], report: Callable[[int], None]) -> Iterator[bytes]:
    for one in pieces:
        with one.path.open("rb") as file:
            file.seek(one.offset)
            left = one.size
            while left and (part := file.read(min(left, _STEP))):
                left -= len(part)
                report(len(part))
                yield part


def _inflated(appliance: Appliance, parts: Iterator[bytes]) -> Iterator[bytes]:
    """What is in a gzip file, which may have several parts (RFC 1952), in steps of a bounded size."""
    unpacker = zlib.decompressobj(_GZIP)
    try:
        for part in parts:
            left = part
            while left:
                if unpacker.eof:
                    unpacker = zlib.decompressobj(_GZIP)
                yield unpacker.decompress(left, _STEP)
                # Zeroes behind the end fill a block up.
                left = unpacker.unused_data.lstrip(b"\0") if unpacker.eof else unpacker.unconsumed_tail
        while not unpacker.eof and (more := unpacker.decompress(unpacker.unconsumed_tail, _STEP)):
            yield more
    except zlib.error as error:
        raise _refused(appliance, f"is not what gzip makes: {error}", "copy or export it anew") from None
    if not unpacker.eof:
        raise _refused(appliance, "is truncated", "copy or export it anew")
