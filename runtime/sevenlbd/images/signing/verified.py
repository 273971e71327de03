"""Which versions were verified, told by the identity of their files: so that 40 GB are read once, not at each start.

A file's identity is its inode number, size, time of change (mtime) and time of status change (ctime), in
nanoseconds. Whoever writes to a file, gives it other times, renames another one into its place or changes its mode
makes the kernel (or the NFS server) set ctime to the present; no system call sets it to a time of one's choice. So a
file with the very same identity has the bytes that it had. The device's number is left out: the same file has
another one on each NFS client. Not believed for that reason are file systems that an ordinary user serves (FUSE):
these can say what they like.

Two lists of such identities exist, and the files of a version must all stand in one of them, or all is read:
- `manifest.places` beside the manifest, made and signed with it. With a shared repository, no node and no user ever
  reads a whole disk just to verify it. A copy has other identities, so it is read once; one in the node's cache is not,
  because the cache compared it with the manifest as it came, and says so (`cache.arrived`).
- The user's own `verified.json` in the cache folder of her home. Only she can write there; a folder or file that
  belongs to somebody else, or that others may write, is not looked at. Nothing in it can become false: "these
  identities had these digests" holds for ever; the key is compared with the site's list at each start.

What an enemy would need: the site's key; or to be root, who can do anything on this node anyway; or a clock that is
set back under a server that he may write to. Changes by memory mapping, which show late in ctime, are settled by
fsync(2) before anything is signed, and a file that changed within the last two seconds is not remembered, because
times may be that coarse. What is verified is what stands there now: who may write to the repository can exchange a
file a moment later. So the session looks at the identities once more when the machine has opened its files.
"""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from ...base import heartbeat, mount_table
from ..layout import MANIFEST, PLACES, SIGNATURE
from . import manifest, signature
from .digest import Report
from .manifest import SIGNATURE_FILES, Altered

Identity = tuple[int, int, int, int]
Progress = Callable[[str, int], AbstractContextManager[Report]]
"""Given what is read and how many bytes, somebody to tell about it."""

_SCHEMA = 1  # the list's format; another one is as good as none
_COARSE_NS = 2_000_000_000  # file systems tell times in steps of two seconds at worst (FAT)
_MOST_ENTRIES = 64  # a guess: a user has fewer images; the oldest is read anew
_MOST_BYTES = 1 << 20  # so many entries have some KiB each
_FUSE = "fuse"


def identity(status: os.stat_result) -> Identity:
    """What a file is told by."""
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def memory_file(environment: Mapping[str, str]) -> Path | None:
    """Where this user's own list is; None without a home."""
    home = environment.get("HOME", "")
    cache = environment.get("XDG_CACHE_HOME") or (f"{home}/.cache" if home else "")
    return Path(cache) / "7lbd" / "verified.json" if cache.startswith("/") else None


def ensure(
    folder: Path,
    keys: Sequence[str],
    memory: Path | None,
    progress: Progress | None = None,
    arrived: Mapping[str, Identity] | None = None,
    compare: Callable[[bytes], None] | None = None,
) -> dict[str, Identity]:
    """Refuse the version in `folder` unless one of `keys` signed it and it is unaltered. Raises Refusal.

    Reads everything only when no list knows these very files, and remembers it then in the file `memory`.
    `arrived` is what a cache that is trusted says of a copy that it has compared with its manifest. Files that are not
    as the manifest has them, because they are encrypted, are compared with its content by `compare`.
    Returns the identity of every file: as long as they are the same, the answer is.
    """
    trusted = signature.trusted(keys)
    believed = told_truly(folder)
    before = identities(folder)
    if believed and memory and (entry := _remembered(memory, before, trusted)):
        check_place(folder, entry["name"], entry["version"])
        return before
    signed = signature.check(folder, trusted)
    known = manifest.parse(signed.manifest, folder / MANIFEST)
    check_place(folder, known.name, known.version)
    if not compare:
        manifest.check_names(folder, known)
    placed = _places(signed) == _without(before, {MANIFEST, SIGNATURE, PLACES})
    if not (believed and (placed or arrived == before)):
        with (progress or _silent)(f"verifying {known.name}@{known.version}", known.size) as report:
            if compare:
                compare(signed.manifest)
            else:
                manifest.check(folder, known, report)
    if identities(folder) != before:
        raise Altered(f"{folder}: is being changed", hint="wait until that has ended")
    if believed and memory:
        _remember(memory, {"key": signed.key, "name": known.name, "version": known.version}, before)
    return before


def _silent(_what: str, _total: int) -> AbstractContextManager[Report]:
    return nullcontext(lambda _: None)


def identities(folder: Path) -> dict[str, Identity]:
    """The identity of every file of a version, those of the signature included. Raises Refusal."""
    files = {name: identity(status) for name, status in manifest.files(folder).items()}
    for name in SIGNATURE_FILES:
        with suppress(FileNotFoundError):
            files[name] = identity((folder / name).lstat())
    return files


def _without(files: Mapping[str, Identity], names: set[str]) -> dict[str, Identity]:
    return {name: value for name, value in files.items() if name not in names}


def check_place(folder: Path, name: str, version: str) -> None:
    """An old version, with its good signature, must not stand in for a new one, nor one image for another."""
    real = folder.resolve()
    if (real.parent.name, real.name) != (name, version):
        what = f"{folder}: was signed as {name}@{version}, and does not stand in a folder of that name"
        raise Altered(what, hint=f"it belongs into the folder {name}/{version} of a repository")


def places(content: bytes, files: Mapping[str, Identity]) -> bytes:
    """The content of manifest.places: the identities of `files`, beside the manifest with this content."""
    table = {"schema": _SCHEMA, "manifest": sha256(content).hexdigest(), "parts": files}
    return json.dumps(table, indent=1, sort_keys=True).encode() + b"\n"


def _places(signed: signature.Signed) -> dict[str, Identity] | None:
    """The identities that were signed; None when there are none for this manifest."""
    try:
        table = json.loads(signed.places)
        if table["schema"] != _SCHEMA or table["manifest"] != sha256(signed.manifest).hexdigest():
            return None
        return _parsed(table["parts"])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _parsed(table: Any) -> dict[str, Identity]:
    """Identities as they stand in JSON. Raises ValueError, TypeError, AttributeError."""
    files: dict[str, Identity] = {}
    for name, (inode, size, changed, status_changed) in table.items():
        files[name] = (int(inode), int(size), int(changed), int(status_changed))
    return files


def told_truly(folder: Path) -> bool:
    """Whether the kernel or a server says what identity the files have, and not a program of some user's (FUSE)."""
    device = folder.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    with suppress(OSError):
        for line in mount_table.lines():
            mount, _, system = line.partition(" - ")
            if mount.split()[2] == number and system.startswith(_FUSE):
                return "user_id=0" in system.split(" ")[-1].split(",")
        return True
    return False


def _remembered(path: Path, files: Mapping[str, Identity], keys: Sequence[str]) -> dict[str, Any] | None:
    """What this user has verified before, if it was these files, signed with a key that still counts."""
    for entry in _entries(path):
        if entry["key"] in keys and entry["files"] == files:
            return entry
    return None


def _entries(path: Path) -> list[dict[str, Any]]:
    """All that is remembered; nothing, when somebody else could have written it or it makes no sense."""
    try:
        if not _is_ours(path.parent.lstat(), stat.S_ISDIR):
            return []
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            if not _is_ours(os.fstat(descriptor), stat.S_ISREG):
                return []
            table = json.loads(file.read(_MOST_BYTES))
        if table["schema"] != _SCHEMA:
            return []
        return [
            {**{key: str(entry[key]) for key in ("key", "name", "version")}, "files": _parsed(entry["files"])}
            for entry in table["verified"]
        ]
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return []


def _is_ours(status: os.stat_result, kind: Callable[[int], bool]) -> bool:
    return kind(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o022


def _remember(path: Path, about: Mapping[str, str], files: Mapping[str, Identity]) -> None:
    """Add an entry. A home that is full or read-only costs the next start its time, nothing else."""
    if any(_is_fresh(value) for value in files.values()):
        return
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    with suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _is_ours(path.parent.lstat(), stat.S_ISDIR):
            return
        kept = [entry for entry in _entries(path) if entry["files"] != dict(files)][1 - _MOST_ENTRIES :]
        text = json.dumps({"schema": _SCHEMA, "verified": [*kept, {**about, "files": files}]})
        try:
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(text)
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)


def _is_fresh(file: Identity) -> bool:
    return file[3] > time.time_ns() - _COARSE_NS


def settle(folder: Path) -> dict[str, Identity]:
    """Make every later change of the version's parts show in their identities, which are returned. Raises Refusal.

    Waits, two seconds at most, until the file system's own clock has left the last change behind.
    """
    for name in manifest.files(folder):
        descriptor = os.open(folder / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    files = {name: identity(status) for name, status in manifest.files(folder).items()}
    newest = max(value[3] for value in files.values()) if files else 0
    deadline = time.monotonic() + _COARSE_NS / 1e9
    while time.monotonic() < deadline and heartbeat.clock(folder.parent) * 1e9 <= newest + _COARSE_NS:
        time.sleep(0.1)
    return files
