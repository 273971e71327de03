"""Which key a session or a coordinator has for encrypted images: what it was given, or the user's own here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ...base import process
from ...base.errors import ExitCode, Refusal
from ...base.paths import user_path
from ...config.settings import Settings
from . import image_key
from .image_key import FileSource, GivenSource, ImageKey, KeySource

_MOST = 4096  # bytes; a key has 64 digits and an end of line
_SECONDS = 60.0  # a guess: for a TPM, or a server far away, to answer


def given(settings: Settings, environment: Mapping[str, str]) -> bytes:
    """The key that opens images here; one that was given goes before the user's own. Raises Refusal."""
    if settings.image_key:
        return _read(user_path(settings.image_key))
    return own(settings, environment).load()


def of_coordinator(settings: Settings, environment: Mapping[str, str]) -> bytes:
    """The same for one that fetches them: its user's own is made at the first time. Raises Refusal."""
    return _read(user_path(settings.image_key)) if settings.image_key else own(settings, environment).make()


def own(settings: Settings, environment: Mapping[str, str]) -> ImageKey:
    """The user's own on this machine, made or not. Raises Refusal."""
    place = image_key.folder(settings.state_dir, environment)
    return ImageKey(place, source(settings, place))


def source(settings: Settings, place: Path) -> KeySource:
    """Where the key comes from that wraps it."""
    if command := settings.image_key_command:
        return GivenSource("command", lambda: _fetched(command), lambda key: _stored(command, key))
    return FileSource(place)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return _parsed(file.read(_MOST), str(path))
    except OSError as error:
        what = f"{path}: the key of encrypted images cannot be read: {error.strerror}"
        raise Refusal(ExitCode.USAGE, what, hint="--image-key FILE") from None


def _parsed(text: bytes, where: str) -> bytes:
    try:
        key = bytes.fromhex(text.decode("ascii").strip())
    except ValueError:
        key = b""
    if len(key) != image_key.LENGTH:
        what = f"{where}: has no key: {2 * image_key.LENGTH} hexadecimal digits"
        raise Refusal(ExitCode.USAGE, what, hint="head -c 32 /dev/urandom | od -An -vtx1 | tr -d ' \\n' makes one")
    return key


def _fetched(command: tuple[str, ...]) -> bytes:
    return _parsed(_call(command, "get", "").encode(errors="replace"), command[0])


def _stored(command: tuple[str, ...], key: bytes) -> None:
    _call(command, "put", f"{key.hex()}\n")


def _call(command: tuple[str, ...], verb: str, said: str) -> str:
    """Run the site's program. Raises Refusal."""
    hint = "the site's setting image_key_command; the container shows a program of the node's with --bind"
    try:
        done = process.run([*command, verb], stdin=said, seconds=_SECONDS)
    except OSError as error:
        what = f"{command[0]}: the key of encrypted images cannot be had: {error.strerror or error}"
        raise Refusal(ExitCode.NODE, what, hint=hint) from None
    if done.code:
        what = f"{command[0]} {verb}: ended with {done.code}: {done.said[-500:] or 'without a word'}"
        raise Refusal(ExitCode.NODE, what, hint=hint)
    return done.printed
