"""Whether nothing of the guest's shall come to the node's disks in the clear, and what of that is not ours to hold."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ....config.settings import Settings
from ....images import layout
from ....images.lookup import image as images
from ....images.lookup.image import Image
from ....wire.plan import Warm
from ...access.credentials import new_disk_key
from .remarks import Remarks

_IN_MEMORY = ("zram",)
_SWAPS = Path("/proc/swaps")


def opened(image: Image, settings: Settings, environment: Mapping[str, str]) -> tuple[Image, bytes | None]:
    """The image, with what opens its files if it lies here encrypted, and the key for that. Raises Refusal."""
    if image.folder is None or not (image.folder / layout.ENCRYPTED).exists():
        return image, None
    from ...grid import key_sources  # a library that is large, so only where it is needed

    key = key_sources.given(settings, environment)
    return replace(images.from_folder(image.folder, key), name=image.name, version=image.version), key


def disk_key(settings: Settings, image_keys: Collection[str]) -> str:
    """What the session's overlay is encrypted with: made for it, at random; empty where it is not.

    What comes of an image that lies encrypted is, too, whatever the settings say.
    """
    return new_disk_key() if settings.encrypt or image_keys else ""


def layer_keys(image: Image, warm: Warm | None) -> dict[str, str]:
    """What opens the disks: all that the machine's process is told."""
    disks = [*(str(layer.path) for layer in image.layers), *([warm.disk] if warm else [])]
    return {path: image.keys[path] for path in disks if path in image.keys}


def warm_keys(image: Image, warm: Warm | None) -> dict[str, str]:
    """What opens the rest of the warm state."""
    return {path: image.keys[path] for path in ((warm.memory, warm.state) if warm else ()) if path in image.keys}


def warm_state_size(image: Image, warm: Warm | None) -> int:
    """Bytes in the clear; 0 where it lies as it is."""
    if not (warm and image.folder and image.keys):
        return 0
    from ....images.encryption import encrypted_version  # large, too

    record = encrypted_version.read(image.folder, None)
    return record.files[str(Path(warm.state).relative_to(image.folder))].plain


def check(settings: Settings, image_keys: Collection[str], remarks: Remarks) -> None:
    """The warnings of a session that is encrypted."""
    if settings.encrypt or image_keys:
        remarks.warnings.extend(warnings(settings.checkpoint_every))


def warnings(checkpoint_every: float) -> Iterator[str]:
    """What the node may do with the memory of an encrypted session, and what saving it does to its user."""
    if checkpoint_every:
        yield (
            "it is encrypted, so that it stands still while it is saved (checkpoint_every): some seconds each time, "
            "which are told"
        )
    if places := _swap():
        yield (
            f"the node swaps to {', '.join(places)}: what the guest has in its memory may be written there, and is "
            "encrypted only if the site has that encrypted"
        )


def _swap() -> list[str]:
    """Where the node swaps to, but for what is memory itself (proc_swaps(5)). None where it does not tell."""
    with suppress(OSError):
        lines = _SWAPS.read_text(errors="replace").splitlines()[1:]
        paths = [line.split()[0] for line in lines if line.strip()]
        return [path for path in paths if not Path(path).name.startswith(_IN_MEMORY)]
    return []
