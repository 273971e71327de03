"""The image cache of a node: whole copies of versions on a local disk, looked at before the repository that has them.

It is laid out as a repository without `current`: which version that is, is the shared repository's word. Beside a
version's folder lie hidden files about it:

    NAME/VERSION/             a whole copy; it appears by one rename
    NAME/.VERSION.copy        of what it is a copy; a copy of what has changed since is not used
    NAME/.VERSION.used        its mtime tells when a session took the copy
    NAME/.VERSION.partial/    what has arrived of one that is not whole yet, and .VERSION.journal: see `fetch`
    .lock                     held by the one who fetches or makes room (flock(2))

Only its owner writes there, you or root; somebody else's could hold anything.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from ...base import atomic, units
from ...base.errors import ExitCode, Refusal
from ...base.ownership import check_owner
from .. import layout, names
from ..names import Reference
from ..repository import leases, readonly
from ..repository.versions import Repository
from ..signing import manifest, verified
from ..signing.verified import Identity
from . import fetch
from .fetch import Tally, Told, VersionSource

_LOCK = ".lock"
_COPY, _NEW, _USED, _PARTIAL, _JOURNAL = "copy", "copy-new", "used", "partial", "journal"
_MAX_RECORD = 1 << 20  # bytes; a guess: a record has a few hundred for each file of a copy
# What the file system itself and others' small files need.
_SPARE = 16 << 20


Take = Callable[[VersionSource, Path, int, Told], Tally]


@dataclass(frozen=True)
class Entry:
    """A copy, or the part of one that has arrived. `size` is what it takes on the disk, `used` an epoch time."""

    ref: Reference
    folder: Path
    whole: bool
    size: int
    used: float


@dataclass(frozen=True)
class Cache:
    """The cache in the folder `path`, of at most `quota` bytes if that is not 0. Methods raise Refusal."""

    path: Path
    quota: int = 0
    take: Take | None = None
    """Who makes the copy, where that is not what there is (`fetch`), but encrypted."""

    def entries(self) -> list[Entry]:
        """All copies, whole or not, least recently used first."""
        check_owner(self.path)
        copies = []
        for name in _subfolders(self.path):
            for folder in _subfolders(self.path / name, hidden=True):
                whole = not folder.startswith(".")
                version = folder if whole else folder.removeprefix(".").removesuffix(f".{_PARTIAL}")
                if folder in (version, f".{version}.{_PARTIAL}") and names.is_version(version):
                    with suppress(OSError):  # gone at this very moment
                        copies.append(self._entry(Reference(name, version), self.path / name / folder, whole=whole))
        return sorted(copies, key=lambda entry: entry.used)

    def users(self, ref: Reference) -> list[str]:
        """Who uses a whole copy."""
        return Repository(self.path).users(ref.name, ref.version)

    def is_whole(self, ref: Reference) -> bool:
        """Whether there is a whole copy, perhaps of what the version was before."""
        return self._folder(ref).is_dir()

    def holds(self, ref: Reference, source: VersionSource) -> bool:
        """Whether there is a whole copy of just this source."""
        check_owner(self.path)
        return self.is_whole(ref) and _record(self._beside(ref, _COPY)).get("of") == _described(source)

    @contextmanager
    def locked(self, waiting: Callable[[], None] | None) -> Iterator[bool]:
        """Be the only one who changes the cache, after a call of `waiting` and a wait if need be.

        With None there is no wait: it yields False when somebody else is at it.
        """
        self._make(self.path, None)
        check_owner(self.path)
        descriptor = self._open_lock()
        try:
            yield _flock(descriptor, self.path, waiting)
        finally:
            os.close(descriptor)

    def fetch(self, ref: Reference, source: VersionSource, rate: int = 0, report: Told = lambda _: None) -> Tally:
        """Make a whole copy of `source`, at most `rate` bytes a second. Only with the lock.

        What has arrived stays when it is interrupted, whatever the reason: a next call goes on from there.
        """
        partial = self._beside(ref, _PARTIAL)
        try:
            self._make(partial.parent, source.folder.parent)
            self._take_back(ref)
            self._make_room(ref, source.needs())
            if self.take:
                tally = self.take(source, partial, rate, report)
            else:
                tally = fetch.fetch(source, partial, self._beside(ref, _JOURNAL), rate, report)
            self._appear(ref, source)
        except OSError as error:
            raise self._trouble(ref, error) from None
        return tally

    def drop(self, ref: Reference) -> None:
        """Remove a copy, whole or not, that nobody uses. Only with the lock, if it is not whole."""
        self.check_has(ref)
        whole, partial = self._folder(ref), self._beside(ref, _PARTIAL)
        try:
            if whole.exists():
                Repository(self.path).remove(ref.name, ref.version)
            if partial.exists():
                readonly.remove(partial)
            for kind in (_COPY, _NEW, _USED, _JOURNAL):
                self._beside(ref, kind).unlink(missing_ok=True)
        except OSError as error:
            raise self._trouble(ref, error) from None

    def check_has(self, ref: Reference) -> None:
        """Refuse what there is no copy of, not even a part of one."""
        if not (self.is_whole(ref) or self._beside(ref, _PARTIAL).exists()):
            raise Refusal(ExitCode.IMAGE, f"{self.path}: has no copy of {ref}", hint="7lbd image cache --list")

    def _folder(self, ref: Reference) -> Path:
        names.check_name(ref.name)
        names.check_version(ref.version)
        return self.path / ref.name / ref.version

    def _beside(self, ref: Reference, kind: str) -> Path:
        return self._folder(ref).with_name(f".{ref.version}.{kind}")

    def _entry(self, ref: Reference, folder: Path, *, whole: bool) -> Entry:
        times = [folder.stat().st_mtime]
        with suppress(OSError):
            times.append(self._beside(ref, _USED).stat().st_mtime)
        size = 0
        for path in folder.rglob("*"):
            status = path.lstat()
            size += status.st_blocks * 512
            if whole and stat.S_ISREG(status.st_mode):
                # Whoever may not write the mark leaves this trace, at least once a day (mount(8), relatime).
                times.append(status.st_atime)
        return Entry(ref, folder, whole, size, max(times))

    def _make(self, folder: Path, like: Path | None) -> None:
        """A folder of ours with the readers of `like`; without one, root's is for all and a user's for her alone."""
        try:
            missing = list(itertools.takewhile(lambda path: not path.exists(), (folder, *folder.parents)))
            for path in reversed(missing):
                path.mkdir(mode=0o700)
                path.chmod(0o755 if os.getuid() == 0 else 0o700)
            if like:
                fetch.like(folder, like, 0o700)
        except OSError as error:
            what = f"{folder}: the image cache cannot be made: {error.strerror}"
            raise Refusal(ExitCode.RESOURCES, what, hint="name another folder: --image-cache DIR") from None

    def _open_lock(self) -> int:
        try:
            # For nobody else: who can open a file can lock it.
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            descriptor = os.open(self.path / _LOCK, flags, 0o600)
            leases.prepare(self.path)
        except OSError as error:
            what = f"{self.path}: the image cache cannot be written to: {error.strerror}"
            hint = "its owner fills it; for one of your own: --image-cache DIR"
            raise Refusal(ExitCode.RESOURCES, what, hint=hint) from None
        return descriptor

    def _take_back(self, ref: Reference) -> None:
        """Begin with the copy of what this version was before: most of it may be as it must be."""
        whole, partial = self._folder(ref), self._beside(ref, _PARTIAL)
        if not whole.exists():
            return
        if users := self.users(ref):
            what = f"{ref} has changed since it was copied, and its copy is in use: {users[0]}"
            raise Refusal(
                ExitCode.IMAGE, what, hint="new sessions go on without the cache; fetch it when that has ended"
            )
        if partial.exists():
            readonly.remove(partial)
        self._beside(ref, _COPY).unlink(missing_ok=True)
        whole.rename(partial)

    def _make_room(self, ref: Reference, needed: int) -> None:
        """Remove what was not used for the longest time, as far as the quota and the disk want it. Nothing in vain."""
        present = self.entries()
        free = shutil.disk_usage(self.path).free - _SPARE
        others = [entry for entry in present if entry.ref != ref]
        here = sum(entry.size for entry in present if entry.ref == ref)
        used = sum(entry.size for entry in others)
        room = min(self.quota or free + used + here, free + used + here)
        excess = used + max(needed, here) - room
        if excess <= 0:
            return
        idle = [entry for entry in others if not entry.whole or not self.users(entry.ref)]
        gone: list[Entry] = []
        while idle and sum(entry.size for entry in gone) < excess:
            gone.append(idle.pop(0))
        if sum(entry.size for entry in gone) < excess:
            raise self._no_room(ref, needed, used, free)
        for entry in gone:
            # In use since a moment ago: then it is the next call's turn.
            with suppress(Refusal):
                self.drop(entry.ref)

    def _no_room(self, ref: Reference, needed: int, used: int, free: int) -> Refusal:
        if self.quota and needed > self.quota:
            what = f"{self.path}: {ref} takes {units.size(needed)}, and image_cache_quota is {units.size(self.quota)}"
            return Refusal(ExitCode.RESOURCES, what, hint="raise image_cache_quota: --image-cache-quota SIZE")
        what = f"{self.path}: there is no room for the {units.size(needed)} of {ref}: {units.size(max(free, 0))} are "
        what += f"free on the disk, the other copies take {units.size(used)}, and those that could go are not enough"
        if self.quota:
            what += f" (image_cache_quota is {units.size(self.quota)})"
        return Refusal(ExitCode.RESOURCES, what, hint="make room there; 7lbd image cache --list shows what is in use")

    def _appear(self, ref: Reference, source: VersionSource) -> None:
        """Everything is on the disk: from this rename on it is a copy."""
        record = self._beside(ref, _COPY)
        fresh = self._beside(ref, _NEW)
        arrived = verified.identities(self._beside(ref, _PARTIAL)) if source.manifest else {}
        fresh.write_text(json.dumps({"of": _described(source), "arrived": arrived}))
        fresh.chmod(0o644)
        atomic.to_disk(fresh)
        fresh.replace(record)
        used = self._beside(ref, _USED)
        used.touch()
        os.utime(used)
        self._beside(ref, _PARTIAL).rename(self._folder(ref))
        atomic.to_disk(record.parent)
        self._beside(ref, _JOURNAL).unlink(missing_ok=True)

    def _trouble(self, ref: Reference, error: OSError) -> Refusal:
        partial = self._beside(ref, _PARTIAL)
        kept = ""
        with suppress(OSError):
            if partial.exists():
                size = self._entry(ref, partial, whole=False).size
                kept = f"; {units.size(size)} of it have arrived and are kept: the next call goes on from there"
        what = f"{self.path}: {ref} cannot be copied: {error.strerror}{kept}"
        return Refusal(ExitCode.RESOURCES, what, hint=f"make room there; or give it up: 7lbd image cache --drop {ref}")


def local(cache: Path, ref: Reference, folder: Path) -> Path:
    """The whole copy of the version in `folder`, if this node has one, and `folder` itself otherwise. Never waits.

    Raises Refusal when there is a cache that somebody else could have filled.
    """
    here = Cache(cache)
    copy = here._folder(ref) if ref.version else folder
    if copy == folder or not os.access(copy, os.F_OK):
        return folder
    check_owner(cache)
    if _record(here._beside(ref, _COPY)).get("of") != _described_by_look(folder):
        return folder
    with suppress(OSError):
        os.utime(here._beside(ref, _USED))
    return copy.resolve()


def arrived(cache: Path, copy: Path) -> dict[str, Identity] | None:
    """The identities that the files of a copy had when they were compared with its manifest, as they came.

    None for what is no copy of this cache. Raises Refusal when somebody else could have written that down.
    """
    if copy.parent.parent != cache.resolve():
        return None
    check_owner(cache)
    said = _record(Cache(cache)._beside(Reference(copy.parent.name, copy.name), _COPY))
    with suppress(KeyError, ValueError, TypeError, AttributeError):
        return {name: (int(a), int(b), int(c), int(d)) for name, (a, b, c, d) in said["arrived"].items()}
    return None


def _flock(descriptor: int, path: Path, waiting: Callable[[], None] | None) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if waiting is None:
            return False
        waiting()
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        what = f"{path}: its file system has no locks, which an image cache needs: {error.strerror}"
        raise Refusal(ExitCode.RESOURCES, what, hint="put it on a local disk: --image-cache DIR") from None
    return True


def _subfolders(above: Path, *, hidden: bool = False) -> list[str]:
    with suppress(OSError), os.scandir(above) as entries:
        subfolders = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        return sorted(name for name in subfolders if hidden or names.is_name(name))
    return []


def _described(source: VersionSource) -> dict[str, object]:
    """What a copy says of its source: by content where there is a manifest, by sizes and times where there is none."""
    if source.manifest:
        return {"manifest": sha256(source.signed[layout.MANIFEST]).hexdigest()}
    return {"stamp": fetch.stamp(source.files)}


def _described_by_look(folder: Path) -> dict[str, object]:
    """The same of the version that is there now, without a look at more than that takes."""
    if manifest.exists(folder):
        return {"manifest": sha256(manifest.read_signed(folder, layout.MANIFEST)).hexdigest()}
    return {"stamp": fetch.stamp(manifest.files(folder))}


def _record(path: Path) -> dict[str, Any]:
    """What was noted of a copy: `of` what it is one, and what `arrived`. Empty when that makes no sense."""
    with suppress(OSError, ValueError, RecursionError), path.open() as file:
        said = json.loads(file.read(_MAX_RECORD))
        return said if isinstance(said, dict) else {}
    return {}
