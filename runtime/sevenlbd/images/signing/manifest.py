"""The manifest of a version: every file in its folder with size and digest, so that any change shows.

Three files stand in the version's folder beside what they speak of:
- manifest.json: name, version, and of every file its size and SHA-256. A file of more than one chunk has the root of
  a hash tree (`digest`) in place of a plain SHA-256, so that 4 MiB of it can be checked without reading the rest.
- manifest.tree: the leaves of those trees, in the order of the names. It needs no digest: the roots are made of it.
- manifest.sig: see `signature`. manifest.places: see `verified`.

A file that the manifest does not list is as bad as an altered one, and so is anything but files and folders.
The manifest itself proves nothing about who made it. It is read as if an enemy had written it.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ...base.errors import ExitCode, Refusal
from ..layout import LOCK, MANIFEST, PLACES, SIGNATURE, TREE
from . import digest
from .digest import Report

SIGNATURE_FILES = frozenset({MANIFEST, TREE, SIGNATURE, PLACES})
"""The files that are about the others; no manifest lists them."""
_NO_PARTS = SIGNATURE_FILES | {LOCK}  # ours, made whenever something is done to the folder, and empty
_SCHEMA = 1  # the manifest's format; whoever knows another one only refuses it
_MOST_BYTES = 4 << 20  # a KiB for each of so many files
_MOST_FILES = 4096  # a guess: an image has about ten
_MOST_SIZE = 1 << 48  # bytes; 256 TiB, more than a disk has
# The leaves of 2 TiB.
MOST_SIGNED = 16 << 20
_HASH = re.compile(r"[0-9a-f]{64}")
_AGAIN = "copy it anew from where it came from; if it was changed on purpose: 7lbd image sign"
_PLAIN = "a version consists of plain files only: remove what does not belong there"


class Altered(Refusal):
    """A version is not what its manifest says."""

    def __init__(self, what: str, *, hint: str = _AGAIN) -> None:
        super().__init__(ExitCode.IMAGE, what, hint=hint)


@dataclass(frozen=True)
class Part:
    """One file of a version. Of `sha256` and `root`, both in hexadecimal, one is there; `chunk` goes with `root`."""

    size: int
    sha256: str = ""
    root: str = ""
    chunk: int = 0


@dataclass(frozen=True)
class Manifest:
    """What a version consists of. `parts` by path in the folder, with `/`; sorted."""

    name: str
    version: str
    parts: Mapping[str, Part]
    leaves: Mapping[str, tuple[bytes, ...]] = field(default_factory=dict, compare=False, repr=False)
    """The trees' leaves, of those parts that have a tree; only after `make`, or from `read_leaves`."""

    @property
    def size(self) -> int:
        """All bytes of all parts."""
        return sum(part.size for part in self.parts.values())

    def to_json(self) -> bytes:
        """The content of manifest.json: the same for the same files, always."""
        parts = {name: _filled(part) for name, part in sorted(self.parts.items())}
        table = {"schema": _SCHEMA, "name": self.name, "version": self.version, "parts": parts}
        return json.dumps(table, indent=1, ensure_ascii=True).encode() + b"\n"

    def to_tree(self) -> bytes:
        return b"".join(b"".join(self.leaves[name]) for name in sorted(self.parts) if self.parts[name].root)


def _filled(part: Part) -> dict[str, object]:
    return {key: value for key, value in asdict(part).items() if value or key == "size"}


def files(folder: Path) -> dict[str, os.stat_result]:
    """Every file below `folder` but the signature's and our lock, by path. Raises Altered for what is neither."""
    statuses: dict[str, os.stat_result] = {}
    waiting = [""]
    while waiting:
        below = waiting.pop()
        with os.scandir(folder / below) as entries:
            for entry in entries:
                name = f"{below}{entry.name}"
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    waiting.append(f"{name}/")
                elif not stat.S_ISREG(status.st_mode):
                    raise Altered(f"{folder / name}: is neither a file nor a folder", hint=_PLAIN)
                elif name not in _NO_PARTS:
                    statuses[name] = status
        if len(statuses) + len(waiting) > _MOST_FILES:
            raise Altered(f"{folder}: has more than {_MOST_FILES} files, which no image has", hint=_PLAIN)
    return dict(sorted(statuses.items()))


def make(folder: Path, report: Report = lambda _: None) -> Manifest:
    """The manifest of what is in `folder`, with its trees' leaves; nothing is written. Raises Refusal.

    Name and version are those of the folder. `report` hears of every byte that is done, holes included.
    """
    parts: dict[str, Part] = {}
    leaves: dict[str, tuple[bytes, ...]] = {}
    for name, status in files(folder).items():
        parts[name], leaves[name] = _hashed(folder / name, status.st_size, report)
    trees = {name: tree for name, tree in leaves.items() if parts[name].root}
    return Manifest(folder.parent.name, folder.name, parts, trees)


def _hashed(path: Path, size: int, report: Report) -> tuple[Part, tuple[bytes, ...]]:
    try:
        if size <= digest.CHUNK:
            plain = digest.plain(path, size)
            report(size)
            return Part(size, sha256=plain.hex()), ()
        leaves = tuple(digest.leaves(path, size, report))
    except digest.Changed as error:
        raise Altered(f"{path}: is being changed: {error}") from None
    except OSError as error:
        raise _unreadable(path, error) from None
    return Part(size, root=digest.root(leaves).hex(), chunk=digest.CHUNK), leaves


def hashed(path: Path) -> Part:
    """A file as a manifest would have it. Raises Refusal."""
    try:
        return _hashed(path, path.lstat().st_size, lambda _: None)[0]
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> Refusal:
    return Refusal(ExitCode.IMAGE, f"{path}: cannot be read: {error.strerror}", hint=f"its owner can: chmod a+r {path}")


def exists(folder: Path) -> bool:
    """Whether there is a manifest."""
    return os.path.lexists(folder / MANIFEST)


def read(folder: Path) -> Manifest:
    """The manifest that stands in `folder`, without leaves; nothing else is looked at. Raises Refusal."""
    return parse(read_signed(folder, MANIFEST), folder / MANIFEST)


def read_signed(folder: Path, name: str) -> bytes:
    """The content of one file of the signature. Raises Refusal."""
    path = folder / name
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        hint = "7lbd image sign makes it" if not os.path.lexists(path) else f"its owner can: chmod a+r {path}"
        raise Refusal(ExitCode.IMAGE, f"{path}: cannot be read: {error.strerror}", hint=hint) from None
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Altered(f"{path}: is not a regular file")
        content = file.read(MOST_SIGNED + 1)
    if len(content) > MOST_SIGNED:
        raise Altered(f"{path}: is far too long")
    return content


def parse(content: bytes, path: Path) -> Manifest:
    """The manifest in `content`, which came from `path`. Raises Refusal."""
    try:
        table: Any = json.loads(content) if len(content) <= _MOST_BYTES else None
        if table["schema"] != _SCHEMA or set(table) != {"schema", "name", "version", "parts"}:
            raise ValueError("it has other keys than this version of 7lbd knows")
        name, version = _text(table["name"]), _text(table["version"])
        parts = {_inner(key): _part(value) for key, value in table["parts"].items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise Altered(f"{path}: is not a manifest: {error}") from None
    return Manifest(name, version, dict(sorted(parts.items())))


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.isprintable() or len(value) > 255:
        raise ValueError(f"{value!r:.80} is not a name")
    return value


def _inner(name: object) -> str:
    """A path that stays in the folder and is spelt in one way only."""
    text = _text(name)
    if text in SIGNATURE_FILES or any(piece in ("", ".", "..") for piece in text.split("/")):
        raise ValueError(f"`{text}` is not the path of a part")
    return text


def _part(table: Any) -> Part:
    size, chunk = table["size"], table.get("chunk", 0)
    if type(size) is not int or type(chunk) is not int or not 0 <= size <= _MOST_SIZE or not isinstance(table, dict):
        raise ValueError("a part's size makes no sense")
    part = Part(size, table.get("sha256", ""), table.get("root", ""), chunk)
    large = size > digest.CHUNK
    keys = {"size", "root", "chunk"} if large else {"size", "sha256"}
    hashed = part.root if large else part.sha256
    if set(table) != keys or not isinstance(hashed, str) or not _HASH.fullmatch(hashed):
        raise ValueError("a part's digest makes no sense")
    if large and chunk != digest.CHUNK:
        raise ValueError(f"its chunks are of {chunk} bytes; {digest.CHUNK} are known")
    return part


def read_leaves(folder: Path, manifest: Manifest) -> dict[str, tuple[bytes, ...]]:
    """The leaves of every part that has a tree, proved against its root. Raises Refusal."""
    packed = read_signed(folder, TREE)
    leaves: dict[str, tuple[bytes, ...]] = {}
    at = 0
    for name, part in manifest.parts.items():
        if part.root:
            end = at + digest.count(part.size) * digest.LENGTH
            leaves[name] = tuple(digest.split(packed[at:end]))
            if digest.root(leaves[name]).hex() != part.root:
                raise Altered(f"{folder / TREE}: does not belong to the manifest: {name} has other leaves")
            at = end
    if at != len(packed):
        raise Altered(f"{folder / TREE}: does not belong to the manifest: it is too long")
    return leaves


def check_chunk(
    folder: Path, manifest: Manifest, part: str, index: int, leaves: Mapping[str, tuple[bytes, ...]]
) -> bool:
    """Whether one chunk of a part is as it was; nothing else is read. Raises Refusal, IndexError."""
    known = manifest.parts[part]
    path = folder / part
    try:
        if not known.root:
            return index == 0 and digest.plain(path, known.size).hex() == known.sha256
        return digest.leaf_of(path, known.size, index) == leaves[part][index]
    except digest.Changed:
        return False
    except OSError as error:
        raise _unreadable(path, error) from None


def check_names(folder: Path, manifest: Manifest) -> dict[str, os.stat_result]:
    """The files of `folder`, which must be those of the manifest, in their sizes. Raises Refusal."""
    statuses = files(folder)
    for name in manifest.parts:
        if name not in statuses:
            raise Altered(f"{folder / name}: is missing")
    for name, status in statuses.items():
        if name not in manifest.parts:
            what = f"{folder / name}: is not in the manifest: it was added later"
            raise Altered(what, hint="remove it; or, if it was added on purpose: 7lbd image sign")
        if status.st_size != manifest.parts[name].size:
            what = f"{folder / name}: was altered: it has {status.st_size} bytes, not {manifest.parts[name].size}"
            raise Altered(what)
    return statuses


def check(folder: Path, manifest: Manifest, report: Report = lambda _: None) -> None:
    """Compare all of `folder` with its manifest, reading everything. Raises Refusal for the first difference."""
    check_names(folder, manifest)
    trees = read_leaves(folder, manifest)
    for name, part in manifest.parts.items():
        hashed, leaves = _hashed(folder / name, part.size, report)
        if part.root and leaves != trees[name]:
            pairs = zip(leaves, trees[name], strict=True)
            at = next(number for number, (now, then) in enumerate(pairs) if now != then) * digest.CHUNK
            raise Altered(f"{folder / name}: was altered, first in bytes {at} to {at + digest.CHUNK}")
        if hashed != part:
            raise Altered(f"{folder / name}: was altered")
