"""An image comes to a lent machine: from a service that may lie, over a line that may break, to a full disk."""

from __future__ import annotations

import errno
import itertools
import os
import random
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
import signed_image
from sevenlbd.base.errors import ExitCode, Refusal
from sevenlbd.images import layout
from sevenlbd.images.cache import sparse
from sevenlbd.images.signing import digest, signature
from sevenlbd.outside.grid.client import PoolGone
from sevenlbd.outside.grid.coordinator.bandwidth import ChangingRate
from sevenlbd.outside.grid.coordinator.happenings import FetchEnded, FetchOutcome
from sevenlbd.outside.grid.coordinator.image_fetch import ImageFetch
from sevenlbd.outside.grid.coordinator.image_store import ImageStore
from sevenlbd.outside.grid.coordinator.stages import ImageVersion
from sevenlbd.outside.grid.protocol import OfferedFile, OfferedImage

CHUNK = digest.CHUNK


class Pool:
    """A pool's service that offers one version, and what it was asked for."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "pool" / "lab" / "1"
        self.folder.mkdir(parents=True)
        (self.folder / layout.DESCRIPTION).write_text('os = "linux"\n')
        with (self.folder / layout.DISK).open("wb") as disk:
            disk.write(random.Random(1).randbytes(CHUNK))
            disk.seek(3 * CHUNK)
            disk.write(random.Random(2).randbytes(CHUNK + 123))
        self.key = signed_image.new_key(root / "key")
        signed_image.sign(self.folder, root / "key")
        self.asked: list[tuple[str, int, int]] = []
        self.breaks_after = -1

    @property
    def offered(self) -> OfferedImage:
        files = sorted(path for path in self.folder.rglob("*") if path.is_file())
        listed = tuple(OfferedFile(str(path.relative_to(self.folder)), path.stat().st_size) for path in files)
        return OfferedImage("lab", "1", sha256((self.folder / layout.MANIFEST).read_bytes()).hexdigest(), listed)

    def get(self, _image: OfferedImage, name: str, begin: int, end: int) -> Iterator[bytes]:
        if self.breaks_after == 0:
            raise Refusal(ExitCode.NODE, "the line is cut")
        self.breaks_after -= 1
        self.asked.append((name, begin, end))
        with (self.folder / name).open("rb") as file:
            file.seek(begin)
            while begin < end and (piece := file.read(min(100_000, end - begin))):
                begin += len(piece)
                yield piece


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    return Pool(tmp_path)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ImageStore]:
    store = ImageStore(tmp_path / "images")
    store.held()
    yield store
    for folder, _, _ in os.walk(tmp_path):
        Path(folder).chmod(0o700)


Fetched = Callable[..., FetchEnded]


@pytest.fixture
def fetched(pool: Pool, store: ImageStore) -> Fetched:
    def run(offered: OfferedImage | None = None, key: str = "") -> FetchEnded:
        return ImageFetch(offered or pool.offered, store, [key or pool.key], pool.get, ChangingRate()).run()

    return run


def image(pool: Pool) -> ImageVersion:
    return ImageVersion("lab", "1", pool.offered.manifest)


def test_an_image_comes_whole_with_its_holes_and_can_be_started_from(
    pool: Pool, store: ImageStore, fetched: Fetched, tmp_path: Path
) -> None:
    ended = fetched()
    assert ended.outcome is FetchOutcome.WHOLE, ended
    here = store.folder(image(pool))
    assert (here / layout.DISK).read_bytes() == (pool.folder / layout.DISK).read_bytes()
    assert (here / layout.DISK).stat().st_blocks * 512 < 3 * CHUNK
    assert store.check(image(pool), [pool.key], tmp_path / "memory" / "verified.json") == ""
    assert all(begin // CHUNK not in (1, 2) for name, begin, _ in pool.asked if name == layout.DISK), "holes are free"
    assert [(one.name, one.version, one.whole) for one in store.held()] == [("lab", "1", True)]


def test_what_has_come_is_not_paid_for_twice(pool: Pool, store: ImageStore, fetched: Fetched) -> None:
    pool.breaks_after = 5
    assert fetched().outcome is FetchOutcome.BROKEN
    assert [one.whole for one in store.held()] == [False]
    first = set(pool.asked)
    pool.asked, pool.breaks_after = [], -1
    assert fetched().outcome is FetchOutcome.WHOLE
    again = {one for one in first & set(pool.asked) if one[0] == layout.DISK}
    assert not again


def test_one_that_was_killed_just_before_the_end_is_finished(pool: Pool, store: ImageStore, fetched: Fetched) -> None:
    fetched()
    repository = store.repository(image(pool))
    repository.rename(repository.with_name(f".part-{repository.name}"))
    assert fetched().outcome is FetchOutcome.WHOLE
    assert store.is_whole(image(pool))


def test_nothing_large_is_asked_for_before_a_trusted_key_has_signed_it(pool: Pool, fetched: Fetched) -> None:
    ended = fetched(key=signature.generate()[1])
    assert ended.outcome is FetchOutcome.ALTERED
    assert "not a trusted key" in ended.why
    assert {name for name, _, _ in pool.asked} == {layout.MANIFEST, layout.SIGNATURE, layout.PLACES}


def test_a_bit_that_was_turned_is_found_as_it_comes(pool: Pool, store: ImageStore, fetched: Fetched) -> None:
    with (pool.folder / layout.DISK).open("r+b") as disk:
        disk.seek(3 * CHUNK + 5)
        disk.write(b"!")
    ended = fetched()
    assert ended.outcome is FetchOutcome.ALTERED
    assert "are not what was signed" in ended.why
    assert not store.is_whole(image(pool))


@pytest.mark.parametrize(
    ("lie", "says"),
    [
        (lambda offered: replace(offered, manifest="0" * 64), "another digest than was offered"),
        (lambda offered: replace(offered, version="2"), "was signed as lab@1"),
        (lambda offered: replace(offered, name="win11"), "was signed as lab@1"),
    ],
)
def test_what_was_signed_as_another_is_not_taken_for_this(
    pool: Pool, fetched: Fetched, lie: Callable[[OfferedImage], OfferedImage], says: str
) -> None:
    ended = fetched(lie(pool.offered))
    assert ended.outcome is FetchOutcome.ALTERED
    assert says in ended.why


def test_files_that_nobody_has_signed_are_not_fetched(pool: Pool, fetched: Fetched) -> None:
    more = (*pool.offered.files, OfferedFile("more", 1 << 40))
    ended = fetched(replace(pool.offered, files=more))
    assert (ended.outcome, "other files were offered than were signed" in ended.why) == (FetchOutcome.ALTERED, True)
    assert all(name != "more" for name, _, _ in pool.asked)


def test_a_manifest_of_gigabytes_is_not_even_begun(pool: Pool, fetched: Fetched) -> None:
    files = tuple(OfferedFile(one.name, 1 << 33) for one in pool.offered.files)
    assert fetched(replace(pool.offered, files=files)).outcome is FetchOutcome.ALTERED
    assert pool.asked == []


def test_a_full_disk_is_told_as_that(pool: Pool, fetched: Fetched, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(sparse, "write", full)
    assert fetched().outcome is FetchOutcome.FULL
    monkeypatch.undo()
    assert fetched().outcome is FetchOutcome.WHOLE


def test_it_stops_soon_when_it_is_told(pool: Pool, store: ImageStore) -> None:
    rate = ChangingRate()
    rate.set(1)  # a byte a second: it would take weeks
    fetch = ImageFetch(pool.offered, store, [pool.key], pool.get, rate)
    get = pool.get

    def told(*asked: object) -> Iterator[bytes]:
        fetch.over.set()
        return get(*asked)  # type: ignore[arg-type]  # it hands over what it gets

    fetch._get = told
    assert fetch.run().outcome is FetchOutcome.STOPPED


def test_a_pool_that_is_busy_is_waited_for_and_no_failure(pool: Pool, store: ImageStore) -> None:
    busy, get = itertools.count(), pool.get

    def often(*asked: object) -> Iterator[bytes]:
        if next(busy) % 3:
            raise PoolGone("the pool sends as much as it can", after=0.001)
        yield from get(*asked)  # type: ignore[arg-type]  # it hands over what it gets

    assert ImageFetch(pool.offered, store, [pool.key], often, ChangingRate()).run().outcome is FetchOutcome.WHOLE


def test_a_pool_that_is_always_busy_is_left_alone_and_one_that_wants_hours_keeps_no_owner_waiting(
    pool: Pool, store: ImageStore
) -> None:
    fetch = ImageFetch(pool.offered, store, [pool.key], pool.get, ChangingRate())

    def never(*_: object) -> Iterator[bytes]:
        raise PoolGone("the pool sends as much as it can", after=0.001)
        yield b""

    fetch._get = never
    assert fetch.run().outcome is FetchOutcome.BROKEN

    def later(*_: object) -> Iterator[bytes]:
        threading.Timer(0.1, fetch.over.set).start()
        raise PoolGone("the pool sends as much as it can", after=3600.0)
        yield b""

    fetch._get = later
    assert fetch.run().outcome is FetchOutcome.STOPPED


def test_an_image_that_was_altered_on_the_disk_is_not_started(
    pool: Pool, store: ImageStore, fetched: Fetched, tmp_path: Path
) -> None:
    fetched()
    disk = store.folder(image(pool)) / layout.DISK
    disk.chmod(0o600)
    with disk.open("r+b") as file:
        file.write(b"!")
    assert "was altered" in store.check(image(pool), [pool.key], tmp_path / "memory" / "verified.json")
    store.drop(image(pool).digest)
    assert store.held() == ()


def test_what_makes_no_sense_in_the_store_is_removed(tmp_path: Path, pool: Pool, fetched: Fetched) -> None:
    fetched()
    for name in ("x", "0" * 64, f".part-{'1' * 64}"):
        (tmp_path / "images" / name).mkdir()
    (tmp_path / "images" / ("2" * 64)).symlink_to(tmp_path)
    shutil.copy(tmp_path / "key", tmp_path / "images" / "file")
    assert len(ImageStore(tmp_path / "images").held()) == 1
    assert [path.name for path in (tmp_path / "images").iterdir()] == [pool.offered.manifest]
    assert (tmp_path / "key").exists()


def test_with_a_key_nothing_that_comes_lies_in_the_clear_and_it_can_be_started_from(tmp_path: Path, pool: Pool) -> None:
    (pool.folder / layout.DESCRIPTION).write_text('os = "linux"\nformat = "raw"\n')
    signed_image.sign(pool.folder, tmp_path / "key")
    store = ImageStore(tmp_path / "images", bytes(range(32)))
    store.held()
    pool.breaks_after = 5
    broken = ImageFetch(pool.offered, store, [pool.key], pool.get, ChangingRate()).run()
    assert broken.outcome is FetchOutcome.BROKEN, broken
    pool.asked, pool.breaks_after = [], -1
    ended = ImageFetch(pool.offered, store, [pool.key], pool.get, ChangingRate()).run()
    assert ended.outcome is FetchOutcome.WHOLE, ended
    assert (layout.DISK, 0, CHUNK) not in pool.asked, "what had come is not paid for twice"
    mark = random.Random(1).randbytes(64)
    assert mark in (pool.folder / layout.DISK).read_bytes()
    here = store.folder(image(pool))
    assert not any(mark in path.read_bytes() for path in here.rglob("*") if path.is_file())
    assert store.check(image(pool), [pool.key], tmp_path / "memory" / "verified.json") == ""
    other = ImageStore(tmp_path / "images", bytes(32))
    assert "was not written with the key" in other.check(image(pool), [pool.key], tmp_path / "none")
    for folder, _, _ in os.walk(tmp_path):
        Path(folder).chmod(0o700)
