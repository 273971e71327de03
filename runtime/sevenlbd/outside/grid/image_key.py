"""The key of a user's encrypted images on this machine: made once, wrapped, changed, never in the clear on the disk.

Two keys. The image key (256 random bits) encrypts; it stays the same as long as the images do, so that a change of the
other takes no time. It lies in `grid/keys/image-key.json`, wrapped in AES-256-GCM by the wrapping key, which is a
file beside it that only its user can read, is sealed by the machine's TPM, or comes from the site's own program or
from the grid's pool, which give it at each start. With all but the first a stolen disk is worthless.

Whatever is changed is changed by one rename at a time, and at each moment between two of them the key can be had:

    1  the new wrapping key is there, beside the old one
    2  the image key is there twice, wrapped by either
    3  the new wrapping key stands in the old one's place
    4  the image key is there once
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ...base import atomic, foreign_files
from ...base.errors import ExitCode, Refusal
from ...config.settings import KeyPlace
from . import membership

_FOLDER, KEY, WRAPPING = "keys", "image-key.json", "wrapping-key"
LENGTH = 32
"""Bytes of either key."""
_SCHEMA = 1  # of the file; another is refused
_MOST = 64 << 10  # bytes; two slots have some hundred
_NONCE = 12  # bytes (NIST SP 800-38D)
_NEW = f"{WRAPPING}.new"
LOST = "the images that it encrypted are lost with it: 7lbd grid rekey --forget, remove them, and they are fetched anew"


class KeySource(Protocol):
    """Where the wrapping key comes from."""

    @property
    def name(self) -> str:
        """How it is called in the file that it wraps the key of."""

    def current(self) -> bytes:
        """The key as it is. Raises Refusal."""

    def propose(self) -> bytes:
        """A new one, kept beside the present one until `accept`. Raises Refusal or OSError."""

    def accept(self) -> None:
        """The new one is the present one from now on. Raises Refusal or OSError."""

    def others(self) -> Iterator[bytes]:
        """What else may be the present one, after a change that was cut off."""

    def forget(self) -> None:
        """It is wrapped by another source from now on. Raises OSError."""


@dataclass(frozen=True)
class FileSource:
    """A file of the user's own, in `folder`, that nobody else can read."""

    folder: Path
    name: str = KeyPlace.FILE

    def current(self) -> bytes:
        """Raises Refusal."""
        return self._read(WRAPPING)

    def propose(self) -> bytes:
        """One that takes no name away from another."""
        key = secrets.token_bytes(LENGTH)
        atomic.replace(self.folder / _NEW, key.hex().encode() + b"\n", lasting=True)
        return key

    def accept(self) -> None:
        """By one rename."""
        (self.folder / _NEW).replace(self.folder / WRAPPING)
        atomic.to_disk(self.folder)

    def others(self) -> Iterator[bytes]:
        """The one that was proposed."""
        with suppress(Refusal):
            yield self._read(_NEW)

    def forget(self) -> None:
        """Both."""
        for name in (WRAPPING, _NEW):
            (self.folder / name).unlink(missing_ok=True)

    def _read(self, name: str) -> bytes:
        path = self.folder / name
        try:
            status = path.lstat()
            if status.st_uid != os.getuid() or status.st_mode & 0o077:
                what = f"{path}: is not a file that only you can read"
                raise Refusal(ExitCode.USAGE, what, hint=f"chmod 600 {path}, if it is yours and nobody has read it")
            key = bytes.fromhex(foreign_files.read(self.folder, name, _MOST).decode("ascii").strip())
        except FileNotFoundError:
            raise Refusal(ExitCode.USAGE, f"{path}: the key of your encrypted images is gone", hint=LOST) from None
        except (OSError, ValueError) as error:
            raise Refusal(ExitCode.USAGE, f"{path}: cannot be used as a key: {error}", hint=LOST) from None
        return sound(key, str(path))


@dataclass
class GivenSource:
    """A key that somebody gives at each start and keeps elsewhere: the pool's service, or a site's own program.

    `store` gets a new one, and must have it for good when it returns; `fetch` gives the present one.
    """

    name: str
    fetch: Callable[[], bytes]
    store: Callable[[bytes], None]
    _proposed: bytes = b""

    def current(self) -> bytes:
        """Raises Refusal."""
        return sound(self.fetch(), f"what `{self.name}` gives")

    def propose(self) -> bytes:
        """Not told to anybody yet."""
        self._proposed = secrets.token_bytes(LENGTH)
        return self._proposed

    def accept(self) -> None:
        """Have it kept."""
        self.store(self._proposed)

    def others(self) -> Iterator[bytes]:
        """None: what it gives is the present one."""
        yield from ()

    def forget(self) -> None:
        """Here is nothing of it."""


def sound(key: bytes, where: str) -> bytes:
    """The key, if it can be one. Raises Refusal."""
    if len(key) != LENGTH:
        raise Refusal(ExitCode.USAGE, f"{where}: is no key of {LENGTH * 8} bits", hint=LOST)
    return key


def folder(state_dir: str, environment: Mapping[str, str]) -> Path:
    """Where the keys of this user are on this machine. Raises Refusal where there is no folder for the state."""
    return membership.folder(state_dir, environment) / _FOLDER


class ImageKey:
    """The key of the images, in `place`."""

    def __init__(self, place: Path, *sources: KeySource) -> None:
        """Of several sources, each may have what wraps it: after a change from one to another that was cut off."""
        self.place = place
        self._sources: tuple[KeySource, ...] = sources or (FileSource(place),)

    def exists(self) -> bool:
        """Whether there is one."""
        return (self.place / KEY).exists()

    def make(self) -> bytes:
        """The key, made at the first time. Raises Refusal."""
        with _told(self.place):
            self.place.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._alone():
            if not self.exists():
                source = self._sources[0]
                wrapping = source.propose()
                # First: what is wrapped by a key that was not kept is lost.
                source.accept()
                fresh = _wrapped(secrets.token_bytes(LENGTH), wrapping, source.name)
                atomic.replace(self.place / KEY, _packed([fresh]), lasting=True)
        return self.load()

    def load(self) -> bytes:
        """The key. Raises Refusal when it is lost."""
        slots = self._slots()
        for wrapping in self._candidates():
            for slot in slots:
                if key := _unwrapped(slot, wrapping):
                    return key
        having = "` or `".join(source.name for source in self._sources)
        what = f"{self.place / KEY}: is not opened by the wrapping key that `{having}` has"
        raise Refusal(ExitCode.USAGE, what, hint=LOST)

    def change(self, source: KeySource | None = None, *, key: bytes = b"") -> None:
        """Wrap it by a new key, of another `source` if one is named. The images stay as they are. Raises Refusal.

        `key` is the images' own, where what wraps it cannot be had any more.
        """
        new = source or self._sources[0]
        with self._alone():
            key, slots = key or self.load(), self._slots()
            fresh = _wrapped(key, new.propose(), new.name)
            atomic.replace(self.place / KEY, _packed([*slots, fresh]), lasting=True)
            new.accept()
            atomic.replace(self.place / KEY, _packed([fresh]), lasting=True)
            for old in (*self._sources, FileSource(self.place)):
                if old.name != new.name:  # what it had wrapped it by opens nothing any more
                    old.forget()
        self._sources = (new,)

    def forget(self) -> None:
        """Remove it: what it encrypted is noise from now on. Raises Refusal."""
        with self._alone():
            (self.place / KEY).unlink(missing_ok=True)
            for source in (*self._sources, FileSource(self.place)):
                source.forget()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Nobody else makes or changes it meanwhile (flock(2)). Raises Refusal."""
        with _told(self.place):
            descriptor = os.open(self.place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                yield
            finally:
                os.close(descriptor)

    def _candidates(self) -> Iterator[bytes]:
        """Whoever takes them all has found none that fits, and is told what one of them was not to be had for."""
        missing: Refusal | None = None
        for source in self._sources:
            try:
                yield source.current()
            except Refusal as refusal:
                missing = missing or refusal
            yield from source.others()
        if missing:
            raise missing

    @property
    def kept_by(self) -> tuple[str, ...]:
        """The names of the sources that may have what wraps it, the newest last; none where there is no key.

        Raises Refusal.
        """
        return tuple(dict.fromkeys(slot["by"] for slot in self._slots())) if self.exists() else ()

    def _slots(self) -> list[dict[str, str]]:
        path = self.place / KEY
        try:
            table = json.loads(foreign_files.read(self.place, KEY, _MOST))
            if table["schema"] != _SCHEMA:
                raise ValueError("it is of a format that this 7lbd does not know")
            return [{name: str(slot[name]) for name in ("by", "nonce", "key")} for slot in table["slots"]]
        except FileNotFoundError:
            raise Refusal(ExitCode.USAGE, f"{path}: there is no key of encrypted images here", hint=LOST) from None
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise Refusal(ExitCode.USAGE, f"{path}: cannot be used: {error}", hint=LOST) from None


def _packed(slots: list[dict[str, str]]) -> bytes:
    return json.dumps({"schema": _SCHEMA, "slots": slots}, indent=1).encode() + b"\n"


def _wrapped(key: bytes, wrapping: bytes, by: str) -> dict[str, str]:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # large, and needed for a moment

    nonce = os.urandom(_NONCE)
    sealed = AESGCM(wrapping).encrypt(nonce, key, KEY.encode())
    return {"by": by, "nonce": base64.b64encode(nonce).decode(), "key": base64.b64encode(sealed).decode()}


def _unwrapped(slot: Mapping[str, str], wrapping: bytes) -> bytes | None:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    with suppress(InvalidTag, ValueError):
        nonce, sealed = base64.b64decode(slot["nonce"]), base64.b64decode(slot["key"])
        key = AESGCM(wrapping).decrypt(nonce, sealed, KEY.encode())
        return key if len(key) == LENGTH else None
    return None


@contextmanager
def _told(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        what = f"{place}: the key of encrypted images cannot be kept there: {error.strerror}"
        raise Refusal(ExitCode.RESOURCES, what, hint="make room there, or --state-dir DIR") from None
