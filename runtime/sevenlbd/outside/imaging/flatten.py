"""A disk of several layers made into one file. No name in their headers is followed: each layer is named here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...images import qemu_img
from ...images.lookup import image
from ...images.lookup.image import ImageLayer
from ..console import progress_bar


def flatten(layers: Sequence[ImageLayer], target: Path, what: str) -> None:
    """Write the disk of `layers`, top first, to `target`. Raises Refusal.

    Zeroes, and what the guest has discarded, take no space in it.
    """
    stored = sum(layer.path.stat().st_blocks * 512 for layer in layers)
    with progress_bar.shown(what, stored) as report:
        qemu_img.convert(image.chain(layers), target, compress=False, stored=stored, told=report)
