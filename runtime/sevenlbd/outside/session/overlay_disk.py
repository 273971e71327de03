"""The overlay: the session's own copy-on-write layer on top of the image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...base.errors import ExitCode, Refusal
from ...base.process import finish
from ...wire import shared_files
from ...wire.plan import Layer

# Sub-clusters of 4 KiB: a small write to the overlay copies 4 KiB from the image, not 128 KiB
# (QEMU, docs/interop/qcow2.rst, "Extended L2 Entries").
_OPTIONS = "extended_l2=on,cluster_size=128k,lazy_refcounts=on"


def most(size: int) -> int:
    """Bytes that an overlay of a disk of `size` bytes has at most: its tables take less than a sixteenth."""
    return size + size // 16 + (64 << 20)


async def make_overlay(folder: Path, layers: Sequence[Layer], size: int) -> str:
    """Create the overlay of `size` bytes and return its path.

    `-u`: the layers below are checked already, and qemu-img opens none.
    """
    command = ["/usr/bin/qemu-img", "create", "-q", "-f", "qcow2", "-u", "-o", _OPTIONS]
    command += ["-b", layers[0].path, "-F", layers[0].format] if layers else []
    command += [str(folder / shared_files.OVERLAY), str(size)]
    try:
        await finish(command)
    except RuntimeError as error:
        raise refused(folder, str(error).rpartition("qemu-img: ")[2]) from None
    return str(folder / shared_files.OVERLAY)


def refused(folder: Path, why: str) -> Refusal:
    """There is no overlay."""
    hint = "make room there, or choose another place: --session-dir DIR"
    return Refusal(ExitCode.RESOURCES, f"{folder}: the overlay cannot be made: {why}", hint=hint)
