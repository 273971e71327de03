"""The cache of a node: whole copies only, of what is there now, within its quota, and in nobody else's folder."""

from __future__ import annotations

import fcntl
import os
import stat
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
from conftest import MakeQcow2
from sevenlbd.base import ownership
from sevenlbd.base.errors import ExitCode, Refusal
from sevenlbd.images import layout
from sevenlbd.images.cache import fetch
from sevenlbd.images.cache import node_cache as copies
from sevenlbd.images.cache.fetch import Tally
from sevenlbd.images.cache.node_cache import Cache
from sevenlbd.images.lookup import image
from sevenlbd.images.names import Reference
from sevenlbd.images.repository import leases, readonly, sign_version
from sevenlbd.images.repository.versions import Repository
from sevenlbd.images.signing import manifest, signature, verified

MIB = 1 << 20
Add = Callable[..., Path]


@pytest.fixture
def shared(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "shared")


@pytest.fixture
def add(shared: Repository, make_qcow2: MakeQcow2) -> Add:
    """Puts a version into the shared repository."""

    def make(text: str, *, size: int = 0, publish: bool = True, signed: bool = True) -> Path:
        name, _, version = text.partition("@")
        with shared.staged(name, version) as folder:
            make_qcow2(folder / "disk.qcow2")
            (folder / "image.toml").write_text(f'name = "{name}"\nversion = "{version}"\n')
            if size:
                (folder / "more").write_bytes(os.urandom(size))
            if signed:
                made = manifest.make(folder)
                (folder / layout.MANIFEST).write_bytes(made.to_json())
                (folder / layout.TREE).write_bytes(made.to_tree())
        if publish:
            shared.publish(name, version)
        return shared.folder(Reference(name, version))

    return make


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "local" / "cache")


def fetched(cache: Cache, folder: Path, report: fetch.Told = lambda _: None) -> Reference:
    ref = Reference(folder.parent.name, folder.name)
    with cache.locked(None) as ours:
        assert ours
        cache.fetch(ref, fetch.look(folder), report=report)
    return ref


def found(wanted: str, shared: Repository, cache: Cache) -> Path:
    """The folder that a session with `--image wanted` would use."""
    folder = image.resolve(wanted, [shared.path], cache.path).folder
    assert folder
    return folder


def used(cache: Cache, ref: Reference, ago: float) -> None:
    """Make a copy one that was last used some time ago."""
    then = time.time() - ago
    folder = cache.path / ref.name / ref.version
    for path in [cache.path / ref.name / f".{ref.version}.used", folder, *folder.iterdir()]:
        os.utime(path, (then, then))


def names(cache: Cache) -> list[str]:
    return [str(entry.ref) for entry in cache.entries()]


@pytest.mark.parametrize("signed", [True, False], ids=["manifest", "plain"])
def test_a_session_takes_the_copy_once_it_is_whole(shared: Repository, cache: Cache, add: Add, signed: bool) -> None:
    folder = add("win@1", signed=signed)
    assert found("win", shared, cache) == folder
    seen = []
    fetched(cache, folder, lambda _: seen.append(found("win", shared, cache)))
    assert set(seen) == {folder}, "not before"
    assert found("win", shared, cache) == found("win@1", shared, cache) == cache.path / "win" / "1"
    assert found("", shared, cache) == cache.path / "win" / "1"


def test_an_old_copy_does_not_win_over_a_newer_current(shared: Repository, cache: Cache, add: Add) -> None:
    fetched(cache, add("win@1"))
    newer = add("win@2")
    assert found("win", shared, cache) == newer
    assert found("win@1", shared, cache) == cache.path / "win" / "1"
    shared.rollback("win")
    assert found("win", shared, cache) == cache.path / "win" / "1"


def test_a_version_that_was_taken_away_is_not_had_from_the_cache(shared: Repository, cache: Cache, add: Add) -> None:
    fetched(cache, add("win@1"))
    add("win@2")
    shared.remove("win", "1")
    with pytest.raises(Refusal, match="win@1"):
        found("win@1", shared, cache)


@pytest.mark.parametrize("signed", [True, False], ids=["manifest", "plain"])
def test_a_copy_of_what_has_changed_since_is_not_used(shared: Repository, cache: Cache, add: Add, signed: bool) -> None:
    folder = add("win@1", size=9 * MIB, signed=signed)
    fetched(cache, folder)
    with shared.amended("win", "1"):
        (folder / "state").write_text("warm")
        if signed:
            (folder / layout.MANIFEST).unlink()
            (folder / layout.TREE).unlink()
            made = manifest.make(folder)
            (folder / layout.MANIFEST).write_bytes(made.to_json())
            (folder / layout.TREE).write_bytes(made.to_tree())
    assert found("win", shared, cache) == folder
    with cache.locked(None):
        tally = cache.fetch(Reference("win", "1"), fetch.look(folder))
    assert found("win", shared, cache) == cache.path / "win" / "1"
    assert (cache.path / "win" / "1" / "state").read_text() == "warm"
    assert tally.fetched < 4096 or not signed, "only what is new"


def test_a_changed_copy_that_is_in_use_stays(shared: Repository, cache: Cache, add: Add) -> None:
    folder = add("win@1", signed=False)
    ref = fetched(cache, folder)
    with shared.amended("win", "1"):
        (folder / "state").write_text("warm")
    with leases.held(cache.path, "win", "1", "s1"), pytest.raises(Refusal, match="its copy is in use: session s1"):
        fetched(cache, folder)
    assert cache.is_whole(ref)
    fetched(cache, folder)


def test_the_least_recently_used_goes_when_the_quota_is_full(shared: Repository, cache: Cache, add: Add) -> None:
    refs = [fetched(cache, add(f"win@{number}", size=2 * MIB)) for number in (1, 2, 3)]
    for ref, ago in zip(refs, (300, 900, 600), strict=True):
        used(cache, ref, ago)
    assert names(cache) == ["win@2", "win@3", "win@1"]
    small = Cache(cache.path, quota=8 * MIB)
    fetched(small, add("win@4", size=2 * MIB))
    assert names(cache) == ["win@3", "win@1", "win@4"]
    assert found("win@3", shared, cache).parent.parent == cache.path, "taking it is using it"
    fetched(small, add("win@5", size=2 * MIB))
    assert sorted(names(cache)) == ["win@3", "win@4", "win@5"]
    assert not list((cache.path / "win").glob(".1.*"))


@pytest.mark.parametrize("how", ["lease", "lock"])
def test_what_is_in_use_does_not_go(cache: Cache, add: Add, how: str) -> None:
    refs = [fetched(cache, add(f"win@{number}", size=2 * MIB)) for number in (1, 2)]
    for ref, ago in zip(refs, (900, 300), strict=True):
        used(cache, ref, ago)
    small = Cache(cache.path, quota=6 * MIB)
    disk = os.open(cache.path / "win" / "1" / "disk.qcow2", os.O_RDONLY)
    if how == "lock":
        fcntl.flock(disk, fcntl.LOCK_SH)
        fetched(small, add("win@3", size=2 * MIB))
    else:
        with leases.held(cache.path, "win", "1", "s1"):
            fetched(small, add("win@3", size=2 * MIB))
    os.close(disk)
    assert sorted(names(cache)) == ["win@1", "win@3"]


def test_nothing_goes_in_vain(cache: Cache, add: Add) -> None:
    refs = [fetched(cache, add(f"win@{number}", size=2 * MIB)) for number in (1, 2)]
    small = Cache(cache.path, quota=6 * MIB)
    with pytest.raises(Refusal, match=r"win@3 takes 8\.\d MiB, and image_cache_quota is 6\.0 MiB") as caught:
        fetched(small, add("win@3", size=8 * MIB))
    assert caught.value.code is ExitCode.RESOURCES
    with leases.held(cache.path, "win", "1", "s1"), pytest.raises(Refusal, match="there is no room for the 5"):
        fetched(small, add("win@4", size=5 * MIB))
    assert sorted(names(cache)) == sorted(map(str, refs))


def test_what_never_became_whole_goes_like_anything_else(cache: Cache, add: Add) -> None:
    def interrupt(tally: Tally) -> None:
        if tally.fetched > 2 * MIB:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetched(cache, add("win@1", size=3 * MIB), interrupt)
    (entry,) = cache.entries()
    assert (str(entry.ref), entry.whole) == ("win@1", False)
    os.utime(entry.folder, (1, 1))
    fetched(Cache(cache.path, quota=4 * MIB), add("win@2", size=3 * MIB))
    assert names(cache) == ["win@2"]


def test_an_interrupted_one_goes_on_where_it_was(shared: Repository, cache: Cache, add: Add) -> None:
    folder = add("win@1", size=20 * MIB)
    ref = Reference("win", "1")

    def interrupt(tally: Tally) -> None:
        if tally.fetched > 11 * MIB:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetched(cache, folder, interrupt)
    assert found("win", shared, cache) == folder
    with cache.locked(None):
        tally = cache.fetch(ref, fetch.look(folder))
    assert tally.fetched <= 9 * MIB
    assert found("win", shared, cache) == cache.path / "win" / "1"
    assert not [path.name for path in (cache.path / "win").iterdir() if path.name.endswith(("partial", "journal"))]


def test_only_one_fetches_and_the_others_may_wait(cache: Cache, add: Add) -> None:
    folder = add("win@1")
    waiting = threading.Event()
    seen: list[bool] = []

    def other() -> None:
        with cache.locked(waiting.set) as ours:
            seen.append(ours and cache.holds(Reference("win", "1"), fetch.look(folder)))

    thread = threading.Thread(target=other)
    with cache.locked(None) as ours:
        assert ours
        with cache.locked(None) as second:
            assert not second
        thread.start()
        assert waiting.wait(10)
        cache.fetch(Reference("win", "1"), fetch.look(folder))
    thread.join(10)
    assert seen == [True]


def test_dropping_removes_all_of_a_copy_but_not_below_a_session(cache: Cache, add: Add) -> None:
    ref = fetched(cache, add("win@1"))
    with leases.held(cache.path, "win", "1", "s1"), pytest.raises(Refusal, match="in use: session s1"):
        cache.drop(ref)
    cache.drop(ref)
    assert cache.entries() == []
    assert [path.name for path in (cache.path / "win").iterdir()] == [".lock"]
    with pytest.raises(Refusal, match="has no copy of win@1"):
        cache.drop(ref)


@pytest.mark.parametrize("text", ["../x@1", "win@../1", "win@..", "@1"])
def test_a_name_that_leads_out_is_no_name(cache: Cache, text: str) -> None:
    name, _, version = text.partition("@")
    with pytest.raises(Refusal, match="cannot be"):
        cache.drop(Reference(name, version))


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o775])
def test_a_cache_that_others_may_write_to_is_refused(shared: Repository, cache: Cache, add: Add, mode: int) -> None:
    folder = add("win@1")
    fetched(cache, folder)
    cache.path.chmod(mode)
    for attempt in (lambda: found("win", shared, cache), lambda: fetched(cache, folder), cache.entries):
        with pytest.raises(Refusal, match="others may write to it") as caught:
            attempt()
        assert caught.value.code is ExitCode.RESOURCES
        assert "chmod go-w" in caught.value.hint


def test_a_cache_that_is_no_folder_is_refused(shared: Repository, cache: Cache, add: Add) -> None:
    cache.path.parent.mkdir()
    cache.path.touch()
    with pytest.raises(Refusal, match="is not a folder"):
        fetched(cache, add("win@1"))


def test_whose_a_folder_is_counts_where_it_can_be_told() -> None:
    """Root's folders show as nobody's in here; those that only root could have made are taken for root's."""
    assert Path("/usr").stat().st_uid in (0, ownership.nobody())
    ownership.check_owner(Path("/usr"))
    ownership.check_owner(Path("/does/not/exist"))
    with pytest.raises(Refusal, match="others may write to it"):
        ownership.check_owner(Path("/tmp"))


def test_a_user_cannot_fill_a_cache_of_roots() -> None:
    with pytest.raises(Refusal, match="the image cache cannot be (made|written to)"), Cache(Path("/usr")).locked(None):
        pass


def test_a_copy_is_private_unless_root_made_it(cache: Cache, add: Add) -> None:
    fetched(cache, add("win@1"))
    assert stat.S_IMODE(cache.path.stat().st_mode) == 0o700
    assert not (cache.path / "win" / "1").stat().st_mode & 0o222


@pytest.mark.parametrize("text", ["", "[" * 9999, "{}", "null", '{"of": 1}', '{"of": {}, "arrived": 3}', "\0"])
def test_a_copy_without_a_record_that_makes_sense_is_no_copy(
    shared: Repository, cache: Cache, add: Add, text: str
) -> None:
    folder = add("win@1")
    fetched(cache, folder)
    (cache.path / "win" / ".1.copy").write_text(text)
    assert found("win", shared, cache) == folder


def test_a_signed_copy_is_not_read_once_more(shared: Repository, cache: Cache, add: Add, tmp_path: Path) -> None:
    folder = add("win@1", signed=False)
    private, public = signature.generate()
    key = tmp_path / "site.key"
    key.write_bytes(private)
    key.chmod(0o600)
    read: list[str] = []

    def reading(what: str, _: int) -> nullcontext[Callable[[int], None]]:
        read.append(what)
        return nullcontext(lambda _: None)

    sign_version.sign(shared, "win", "1", signature.private_key(key), reading)
    fetched(cache, folder)
    copy = found("win", shared, cache)
    known = copies.arrived(cache.path, copy)
    assert known
    read.clear()
    verified.ensure(copy, [public], None, reading, known)
    assert read == []
    copy.chmod(0o700)
    (copy / "image.toml").chmod(0o600)
    (copy / "image.toml").write_text('name = "win"\nversion = "2"\n')
    with pytest.raises(Refusal, match="image.toml: was altered"):
        verified.ensure(copy, [public], None, reading, copies.arrived(cache.path, copy))
    assert read
    assert copies.arrived(cache.path, folder) is None
    cache.path.chmod(0o777)
    with pytest.raises(Refusal, match="others may write"):
        copies.arrived(cache.path, copy)


def test_a_mark_that_cannot_be_made_is_done_without(shared: Repository, cache: Cache, add: Add) -> None:
    fetched(cache, add("win@1"))
    (cache.path / "win" / ".1.used").unlink()
    assert found("win", shared, cache) == cache.path / "win" / "1"


def test_a_version_named_like_our_own_files_is_an_ordinary_one(cache: Cache, add: Add) -> None:
    for version in ("1", "1.partial", "1.copy"):
        fetched(cache, add(f"win@{version}"))
    assert sorted(names(cache)) == ["win@1", "win@1.copy", "win@1.partial"]
    cache.drop(Reference("win", "1"))
    assert sorted(names(cache)) == ["win@1.copy", "win@1.partial"]


def test_a_partial_copy_that_was_whole_already_is_gone_on_with(cache: Cache, add: Add) -> None:
    """Killed between the last file and the rename."""
    folder = add("win@1")
    ref = fetched(cache, folder)
    whole = cache.path / "win" / "1"
    whole.rename(whole.with_name(".1.partial"))
    (cache.path / "win" / ".1.copy").unlink()
    with cache.locked(None):
        assert cache.fetch(ref, fetch.look(folder)).fetched == 0
    assert cache.holds(ref, fetch.look(folder))
    readonly.remove(cache.path)
