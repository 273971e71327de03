"""Which key a session or a coordinator has for encrypted images: what it was given, or the user's own here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from ...base import process
from ...base.errors import ExitCode, Refusal
from ...base.paths import user_path
from ...config.settings import KeyPlace, Settings
from . import image_key, tpm_key
from .image_key import FileSource, GivenSource, ImageKey, KeySource

_MOST = 4096  # bytes; a key has 64 digits and an end of line
_SECONDS = 60.0  # a guess: for a TPM, or a server far away, to answer


def given(settings: Settings, environment: Mapping[str, str]) -> bytes:
    """The key that opens images here; one that was given goes before the user's own. Raises Refusal."""
    if settings.image_key:
        return _read(user_path(settings.image_key))
    return own(settings, environment).load()


def of_coordinator(settings: Settings, environment: Mapping[str, str]) -> bytes:
    """The same for one that fetches them: its user's own is made at the first time, and kept where the site says.

    Raises Refusal.
    """
    if settings.image_key:
        return _read(user_path(settings.image_key))
    mine = own(settings, environment)
    key, wanted = mine.make(), wanted_place(settings)
    if settings.image_key_source is not KeyPlace.AUTO and mine.kept_by != (wanted,):
        mine.change(source(settings, mine.place, wanted))
    return key


def own(settings: Settings, environment: Mapping[str, str]) -> ImageKey:
    """The user's own on this machine, made or not: its file says what opens it. Raises Refusal."""
    place = image_key.folder(settings.state_dir, environment)
    kept = ImageKey(place).kept_by or (wanted_place(settings),)
    return ImageKey(place, *(source(settings, place, name) for name in kept))


def holder(settings: Settings, environment: Mapping[str, str]) -> str:
    """Where a coordinator's key comes from: a KeyPlace, or empty where it is given. Raises Refusal."""
    if settings.image_key:
        return ""
    kept = own(settings, environment).kept_by
    if KeyPlace.POOL in kept:  # what it has must come from there before it can be kept elsewhere
        return KeyPlace.POOL
    return kept[-1] if kept and settings.image_key_source is KeyPlace.AUTO else wanted_place(settings)


def wanted_place(settings: Settings) -> KeyPlace:
    """Where a key is kept that is made or changed now."""
    if settings.image_key_source is not KeyPlace.AUTO:
        return settings.image_key_source
    return KeyPlace.COMMAND if settings.image_key_command else KeyPlace.FILE


def forget(settings: Settings, environment: Mapping[str, str]) -> None:
    """Give up the user's own, whatever has become of it. Raises Refusal."""
    place = image_key.folder(settings.state_dir, environment)
    ImageKey(place, tpm_key.TpmSource(place, settings.image_key_tpm)).forget()


def source(settings: Settings, place: Path, name: str) -> KeySource:
    """The one of this name; it may not be to be had."""
    match name:
        case KeyPlace.FILE:
            return FileSource(place)
        case KeyPlace.TPM:
            return tpm_key.TpmSource(place, settings.image_key_tpm)
        case KeyPlace.POOL:
            from . import pool_key  # TLS, and all of the protocol: most sessions ask no pool

            return pool_key.source(place.parent)
        case KeyPlace.COMMAND if command := settings.image_key_command:
            return GivenSource(KeyPlace.COMMAND, lambda: _fetched(command), lambda key: _stored(command, key))
        case KeyPlace.COMMAND:
            what = "the key of encrypted images is kept by a program of the site's, and none is set"
            return _absent(name, what, "the site's setting image_key_command")
    what = f"the key of encrypted images is kept by `{name[:80]}`, which this 7lbd does not know"
    return _absent(name, what, image_key.LOST)


def _absent(name: str, what: str, hint: str) -> GivenSource:
    def refuse(_key: bytes = b"") -> NoReturn:
        raise Refusal(ExitCode.USAGE, what, hint=hint)

    return GivenSource(name, refuse, refuse)


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
