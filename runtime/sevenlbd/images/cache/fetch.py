"""Copying a version to another disk, piece by piece: what has arrived whole is not fetched a second time.

A piece is a chunk of `digest`. With a manifest each is compared with it before it is written; without one, the hash of
what was read goes into a journal. Whoever goes on after an interruption, SIGKILL and a power cut included, hashes what
lies there and fetches only pieces that are missing or wrong. Holes stay holes (`sparse`).

It knows nothing of caches: it fills the one folder that it is given, and leaves it as it is when something goes wrong.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from ...base import atomic
from ...base.errors import ExitCode, Refusal
from .. import layout
from ..repository import readonly
from ..signing import digest, manifest
from ..signing.manifest import Altered, Manifest
from . import sparse
from .sparse import BLOCK, extents, opened

# What is read, and paid for to the bucket, at once.
_READ = 256 << 10
# How much a bucket that was not asked for a while gives at once, in seconds of its rate.
_BURST = 0.25

Stamp = dict[str, list[int]]
"""Size and mtime (ns) of each file: whether a version is still the one that was copied."""


@dataclass(frozen=True)
class Tally:
    """How far it is, in bytes. `kept` is what had arrived before, and holes; only `fetched` was read."""

    total: int
    kept: int = 0
    fetched: int = 0

    @property
    def done(self) -> int:
        """What has its final content."""
        return self.kept + self.fetched


Told = Callable[[Tally], None]


@dataclass(frozen=True)
class VersionSource:
    """A version as it was when looked at. `signed` is the content of the manifest and of what belongs to it."""

    folder: Path
    files: Mapping[str, os.stat_result]
    signed: Mapping[str, bytes]
    manifest: Manifest | None

    def needs(self) -> int:
        """Bytes that a sparse copy takes on a disk, at most. Raises Refusal."""
        return sum(self._data(name) for name in self.files) + sum(map(len, self.signed.values()))

    def _data(self, name: str) -> int:
        with _reading(self.folder / name), opened(self.folder / name) as descriptor:
            size = self.files[name].st_size
            return sum(-(-(end - start) // BLOCK) * BLOCK for start, end in extents(descriptor, 0, size))


def stamp(files: Mapping[str, os.stat_result]) -> Stamp:
    """What tells these files from changed ones, short of reading them."""
    return {name: [status.st_size, status.st_mtime_ns] for name, status in files.items()}


def look(folder: Path) -> VersionSource:
    """What there is to copy. Raises Refusal, also when a file is missing, or is one too many for the manifest."""
    with _reading(folder):
        files = manifest.files(folder)
    signed = {
        name: manifest.read_signed(folder, name)
        for name in sorted(manifest.SIGNATURE_FILES)
        if os.path.lexists(folder / name)
    }
    if layout.MANIFEST not in signed:
        return VersionSource(folder, files, signed, None)
    said = manifest.parse(signed[layout.MANIFEST], folder / layout.MANIFEST)
    return VersionSource(folder, manifest.check_names(folder, said), signed, said)


def fetch(source: VersionSource, target: Path, journal: Path, rate: int = 0, report: Told = lambda _: None) -> Tally:
    """Make `target` a copy of `source`, at most `rate` bytes a second of it; what is right there already stays.

    All of it is on the disk in the end. Raises Refusal when the source is at fault, OSError when the target is.
    """
    return _Fetch(source, target, journal, rate, report).run()


class RateLimit:
    """A token bucket: holds its caller back so that a rate, in bytes a second, is kept; 0 is no limit."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._paid_until = 0.0

    def take(self, size: int) -> None:
        """Returns when `size` bytes may be moved."""
        if not self._rate:
            return
        now = time.monotonic()
        self._paid_until = max(self._paid_until, now - _BURST) + size / self._rate
        if self._paid_until > now:
            time.sleep(self._paid_until - now)


class _Fetch:
    """One call of `fetch`."""

    def __init__(self, source: VersionSource, target: Path, journal: Path, rate: int, report: Told) -> None:
        self._source = source
        self._target = target
        self._journal = _Journal(journal, source)
        self._bucket = RateLimit(rate)
        self._told = report
        self._tally = Tally(sum(status.st_size for status in source.files.values()))
        self._buffer = memoryview(bytearray(digest.CHUNK))
        self._leaves: Mapping[str, tuple[bytes, ...]] = {}

    def run(self) -> Tally:
        self._target.mkdir(mode=0o700, exist_ok=True)
        readonly.reopen(self._target)
        self._remove_strangers()
        for name, content in self._source.signed.items():
            self._write_signed(name, content)
        if self._source.manifest:
            self._leaves = manifest.read_leaves(self._target, self._source.manifest)
        with self._journal:
            for name, status in self._source.files.items():
                self._file(name, status)
        self._signed()
        return self._tally

    def _remove_strangers(self) -> None:
        """What an earlier attempt fetched of a version that was another then."""
        for path in sorted(self._target.rglob("*"), reverse=True):
            name = str(path.relative_to(self._target))
            if path.is_dir() and not path.is_symlink():
                with suppress(OSError):
                    path.rmdir()  # only when it is empty
            elif name not in self._source.files or path.is_symlink():
                path.unlink()

    def _write_signed(self, name: str, content: bytes) -> None:
        with (self._target / name).open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

    def _file(self, name: str, status: os.stat_result) -> None:
        hashes: list[bytes] = []
        (self._target / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with ExitStack() as files:
            with _reading(self._source.folder / name):
                origin = files.enter_context(opened(self._source.folder / name))
            self._refuse_changed(origin, name, status)
            copy = files.enter_context(opened(self._target / name, os.O_RDWR | os.O_CREAT))
            os.ftruncate(copy, status.st_size)
            # An empty file is one empty piece: it has a hash, too.
            for index in range(max(1, digest.count(status.st_size))):
                hashes.append(self._piece(name, status.st_size, index, origin, copy))
            os.utime(copy, ns=(status.st_atime_ns, status.st_mtime_ns))
            os.fsync(copy)
            self._refuse_changed(origin, name, status)
        part = self._source.manifest.parts[name] if self._source.manifest else None
        if part and part.root and digest.root(hashes).hex() != part.root:
            raise Altered(f"{self._source.folder / name}: was altered: its hash tree has another root")

    def _piece(self, name: str, size: int, index: int, origin: int, copy: int) -> bytes:
        """Have one piece in its place; returns its hash."""
        at, length = index * digest.CHUNK, digest.length(size, index)
        expected = self._expected(name, index)
        if expected and _hash(size, self._read(copy, at, length), length) == expected:
            self._advance(kept=length)
            return expected
        with _reading(self._source.folder / name):
            data = self._read(origin, at, length, self._bucket)
        hashed = _hash(size, data, length)
        if self._source.manifest and hashed != expected:
            self._refuse_changed(origin, name, self._source.files[name])
            raise Altered(
                f"{self._source.folder / name}: was altered, or was damaged on its way: bytes {at} to {at + length} "
                "are not what the manifest says"
            )
        sparse.write(copy, data, at, length)
        if not self._source.manifest:
            self._journal.note(name, index, hashed)
        if data:
            self._advance(fetched=length)
        else:
            self._advance(kept=length)
        return hashed

    def _expected(self, name: str, index: int) -> bytes | None:
        if not self._source.manifest:
            return self._journal.known.get((name, index))
        part = self._source.manifest.parts[name]
        return self._leaves[name][index] if part.root else bytes.fromhex(part.sha256)

    def _read(self, descriptor: int, at: int, length: int, bucket: RateLimit | None = None) -> memoryview | None:
        """A piece in our one buffer; None when it is nothing but a hole."""
        buffer, filled = self._buffer[:length], 0
        for start, end in extents(descriptor, at, at + length):
            buffer[filled : start - at] = bytes(start - at - filled)
            filled = start - at
            while filled < end - at:
                step = min(_READ, end - at - filled)
                if bucket:
                    bucket.take(step)
                got = os.preadv(descriptor, [buffer[filled : filled + step]], at + filled)
                if not got:
                    raise digest.Changed
                filled += got
        if not filled:
            return None
        buffer[filled:] = bytes(length - filled)
        return buffer

    def _advance(self, *, kept: int = 0, fetched: int = 0) -> None:
        self._tally = replace(self._tally, kept=self._tally.kept + kept, fetched=self._tally.fetched + fetched)
        self._told(self._tally)

    def _refuse_changed(self, descriptor: int, name: str, status: os.stat_result) -> None:
        """The file that we read must be the one that was looked at, from the first to the last moment."""
        now = [os.fstat(descriptor)]
        with suppress(FileNotFoundError):
            now.append((self._source.folder / name).lstat())
        if len(now) < 2 or any(_identity(each) != _identity(status) for each in now):
            raise SourceChanged(f"{self._source.folder / name}: was changed while it was being fetched")

    def _signed(self) -> None:
        """Let those read the copy who may read the original; nobody writes to it. A power cut leaves it whole."""
        names = {*self._source.files, *self._source.signed}
        for name in names:
            with _reading(self._source.folder / name):
                like(self._target / name, self._source.folder / name, 0o400)
        inner = {parent for name in names for parent in Path(name).parents}
        for folder in sorted(inner, key=lambda path: len(path.parts), reverse=True):
            with _reading(self._source.folder / folder):
                like(self._target / folder, self._source.folder / folder, 0o500)
            atomic.to_disk(self._target / folder)


def _hash(size: int, data: memoryview | None, length: int) -> bytes:
    """As the manifest has it: a large file's pieces are leaves of its tree, a small one is hashed as it is."""
    if size > digest.CHUNK:
        return digest.leaf(data) if data else digest.zero_leaf(length)
    return hashlib.sha256(data or bytes(length)).digest()


class SourceChanged(Altered):
    """The source is not what it was at the beginning."""

    def __init__(self, what: str) -> None:
        super().__init__(what, hint="a version is never changed: 7lbd image check tells more; then fetch it anew")


class _Journal:
    """The hashes of what was fetched of a version without a manifest: a line a piece, after one that says of what."""

    def __init__(self, path: Path, source: VersionSource) -> None:
        self.known: dict[tuple[str, int], bytes] = {}
        self._path = path
        self._begin = json.dumps(stamp(source.files))
        if not source.manifest:
            self._load()

    def _load(self) -> None:
        """What an earlier attempt noted of the very same files. Half a line, from SIGKILL, ends it."""
        with suppress(OSError, ValueError, TypeError):
            lines = self._path.read_text().split("\n")
            for line in lines[1:] if lines[0] == self._begin else []:
                name, index, hashed = json.loads(line)
                self.known[name, index] = bytes.fromhex(hashed)

    def __enter__(self) -> None:
        """Begin anew with what is known, so that half a line never stands in the middle."""
        lines = [self._begin, *(self._line(*key, hashed) for key, hashed in self.known.items()), ""]
        self._path.write_text("\n".join(lines))
        self._file = self._path.open("a", buffering=1)

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def note(self, name: str, index: int, hashed: bytes) -> None:
        """A piece has been written. Should a power cut eat it: whoever goes on looks at the piece itself."""
        self._file.write(self._line(name, index, hashed) + "\n")

    @staticmethod
    def _line(name: str, index: int, hashed: bytes) -> str:
        return json.dumps([name, index, hashed.hex()])


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn the source's refusals into ours."""
    try:
        yield
    except FileNotFoundError:
        raise SourceChanged(f"{path}: is gone") from None
    except digest.Changed:
        raise SourceChanged(f"{path}: became shorter while it was being fetched") from None
    except OSError as error:
        hint = f"its owner can: chmod a+r {path}; or its file system has a trouble of its own"
        raise Refusal(ExitCode.IMAGE, f"{path}: cannot be read: {error.strerror}", hint=hint) from None


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def like(path: Path, origin: Path, least: int) -> None:
    """Give `path` the readers of `origin`; where its group cannot be kept, the group may what others may.

    Its owner gets `least`. Raises OSError.
    """
    status = origin.stat()
    with suppress(OSError):
        os.chown(path, -1, status.st_gid)
    mode = status.st_mode & 0o555
    if path.stat().st_gid != status.st_gid:
        mode = mode & ~0o070 | (mode & 0o007) << 3
    path.chmod(mode | least)
