"""Screenshots, compared by what they hold, never with an image from another day."""

from __future__ import annotations

from PIL import Image

Colour = tuple[int, int, int]

MARK: Colour = (0x12, 0xAB, 0x34)
"""A colour that no wallpaper has: a window of it in the guest must show up at the client."""


def pixels_like(image: Image.Image, colour: Colour) -> int:
    """How many pixels are nearly of this colour."""

    def is_like(pixel: object) -> bool:
        return isinstance(pixel, tuple) and all(abs(a - b) < 24 for a, b in zip(pixel, colour, strict=True))

    return sum(count for count, pixel in image.getcolors(1 << 24) or [] if is_like(pixel))


def is_a_desktop(image: Image.Image) -> bool:
    """Whether there is more on it than a plain or nearly plain area."""
    colours = image.getcolors(1 << 24) or []
    return len(colours) > 300 and max(count for count, _ in colours) < 0.9 * image.width * image.height
