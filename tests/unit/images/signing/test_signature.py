"""Signatures: who signed is known, whatever changed is noticed, and what was verified need not be read again."""

from __future__ import annotations

import base64
import json
import mmap
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sevenlbd.base import mount_table
from sevenlbd.base.errors import ExitCode, Refusal
from sevenlbd.images.repository import sign_version
from sevenlbd.images.repository.versions import Repository
from sevenlbd.images.signing import manifest, signature, verified

MIB = 1 << 20
COARSE_NS = 100_000_000


class World:
    """A repository with one signed version, its key, and somebody's memory of what was verified."""

    def __init__(self, folder: Path) -> None:
        secret, self.public = signature.generate()
        self.key = folder / "site.key"
        self.key.write_bytes(secret)
        self.key.chmod(0o600)
        self.repository = Repository(folder / "images")
        with self.repository.staged("win", "1.0") as fresh:
            (fresh / "image.toml").write_text('name = "win"\nversion = "1.0"\n')
            (fresh / "disk.qcow2").write_bytes(os.urandom(5 * MIB))
            (fresh / "warm").mkdir()
            (fresh / "warm" / "memory").write_bytes(bytes(1000))
        self.folder = folder / "images" / "win" / "1.0"
        self.memory = folder / "home" / ".cache" / "7lbd" / "verified.json"
        self.read: list[str] = []

    def sign(self) -> None:
        private = signature.private_key(self.key)
        sign_version.sign(self.repository, "win", "1.0", private, lambda _what, _size: nullcontext(lambda _: None))

    @contextmanager
    def progress(self, what: str, _size: int) -> Iterator[Callable[[int], None]]:
        self.read.append(what)
        yield lambda _: None

    def ensure(self, *keys: str) -> bool:
        """Whether it had to be read."""
        self.read.clear()
        verified.ensure(self.folder, keys or [self.public], self.memory, self.progress)
        return bool(self.read)

    def flip(self, name: str, at: int = -1) -> None:
        """Change one bit, and put everything back that a user can put back."""
        path = self.folder / name
        before = path.stat()
        path.chmod(0o600)
        content = bytearray(path.read_bytes())
        content[at] ^= 1
        with path.open("r+b") as file:
            file.write(content)
        path.chmod(before.st_mode)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        after = path.stat()
        assert (after.st_size, after.st_mtime_ns, after.st_ino) == (before.st_size, before.st_mtime_ns, before.st_ino)


@pytest.fixture(autouse=True, scope="module")
def _fine_clock() -> Iterator[None]:
    """Local file systems tell 10 ms apart; nobody waits for the two seconds that others may need."""
    with pytest.MonkeyPatch.context() as changed:
        changed.setattr(verified, "_COARSE_NS", COARSE_NS)
        yield


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    world.sign()
    yield world
    for folder in [tmp_path, *tmp_path.rglob("*")]:
        # What is read-only pytest could not remove.
        if folder.is_dir() and not folder.is_symlink():
            folder.chmod(0o700)


@contextmanager
def opened(world: World) -> Iterator[None]:
    world.folder.chmod(0o700)
    yield
    world.folder.chmod(0o555)


def test_a_signed_version_is_believed_without_reading_it(world: World) -> None:
    assert not world.ensure()
    assert sorted(path.name for path in world.folder.iterdir()) == [
        "disk.qcow2", "image.toml", "manifest.json", "manifest.places", "manifest.sig", "manifest.tree", "warm",
    ]  # fmt: skip
    assert not list(world.folder.parent.glob(".seal-*"))
    assert not any(path.stat().st_mode & 0o222 for path in world.folder.rglob("*")), "it is read-only"


def test_a_version_made_by_hand_is_believed_too(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.folder.chmod(0o755)
    (world.folder / "disk.qcow2").chmod(0o644)
    world.sign()
    assert not world.ensure()
    assert (world.folder / "disk.qcow2").stat().st_mode & 0o222 == 0


def age(folder: Path) -> None:
    newest = max(path.stat().st_ctime for path in folder.rglob("*"))
    time.sleep(max(0.0, newest + 1.2 * COARSE_NS / 1e9 - time.time()))


@pytest.fixture
def copy(world: World, tmp_path: Path) -> World:
    """The same version elsewhere, as in a node's cache."""
    place = tmp_path / "cache" / "win" / "1.0"
    shutil.copytree(world.folder, place)
    world.folder = place
    age(place)
    return world


def test_a_copy_is_read_once_and_then_known(copy: World) -> None:
    assert copy.ensure()
    assert not copy.ensure()
    assert copy.memory.stat().st_mode & 0o777 == 0o600
    with pytest.raises(Refusal, match="not a trusted key"):
        copy.ensure(signature.generate()[1])


@pytest.mark.parametrize("name", ["disk.qcow2", "image.toml", "warm/memory"])
def test_a_changed_byte_is_noticed_though_size_and_times_are_as_before(copy: World, name: str) -> None:
    copy.ensure()
    copy.flip(name)
    with pytest.raises(manifest.Altered, match=f"{name}: was altered"):
        copy.ensure()


@pytest.mark.parametrize("name", ["manifest.json", "manifest.tree", "manifest.sig", "manifest.places"])
@pytest.mark.parametrize("at", [0, 30, -2])
def test_a_changed_byte_of_what_signs_it_is_noticed(world: World, name: str, at: int) -> None:
    world.ensure()
    world.flip(name, at)
    with pytest.raises(Refusal):
        world.ensure()


def test_a_changed_byte_is_noticed_where_the_signed_places_were_believed(world: World) -> None:
    assert not world.ensure()
    world.flip("disk.qcow2")
    with pytest.raises(manifest.Altered, match=r"disk.qcow2: was altered"):
        world.ensure()
    world.flip("disk.qcow2")
    assert world.ensure(), "it is whole again, but no more the file that was signed"


def test_what_is_memory_mapped_is_noticed_too(copy: World) -> None:
    copy.ensure()
    disk = copy.folder / "disk.qcow2"
    disk.chmod(0o600)
    with disk.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[100] ^= 1
    disk.chmod(0o444)
    with pytest.raises(manifest.Altered):
        copy.ensure()


def test_another_key_none_and_an_unsigned_version_are_refused(world: World) -> None:
    with pytest.raises(Refusal, match="not a trusted key") as caught:
        world.ensure(signature.generate()[1])
    assert caught.value.code is ExitCode.IMAGE
    with pytest.raises(Refusal, match="none is listed"):
        verified.ensure(world.folder, [], world.memory)
    with opened(world):
        (world.folder / "manifest.sig").rename(world.folder.parent / "kept")
    with pytest.raises(Refusal, match="is not signed"):
        world.ensure()


def test_an_added_file_is_noticed(world: World) -> None:
    world.ensure()
    with opened(world):
        (world.folder / "more").touch()
    with pytest.raises(manifest.Altered, match="more: is not in the manifest"):
        world.ensure()
    with opened(world):
        (world.folder / "more").unlink()
    assert not world.ensure()


def test_an_old_version_cannot_stand_in_for_another(world: World) -> None:
    other = world.folder.with_name("2.0")
    world.folder.rename(other)
    with pytest.raises(manifest.Altered, match="was signed as win@1.0"):
        verified.ensure(other, [world.public], world.memory)


@pytest.mark.parametrize("spoilt", ["others may write", "a link", "a link above", "nonsense", "a pipe"])
def test_a_memory_that_somebody_else_could_have_written_is_not_believed(copy: World, spoilt: str) -> None:
    copy.ensure()
    assert not copy.ensure()
    memory, elsewhere = copy.memory, copy.memory.with_name("elsewhere")
    if spoilt == "others may write":
        memory.chmod(0o620)
    elif spoilt == "a link":
        memory.rename(elsewhere)
        memory.symlink_to(elsewhere)
    elif spoilt == "a link above":
        copy.memory = memory.parent / "link" / "verified.json"
        copy.memory.parent.symlink_to(memory.parent)
    elif spoilt == "nonsense":
        memory.write_text("[[[")
    else:
        memory.unlink()
        os.mkfifo(memory)
    assert copy.ensure(), "it is read again"


def test_a_file_that_changed_just_now_is_not_remembered(copy: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as coarse:
        coarse.setattr(verified, "_COARSE_NS", 3600 * 10**9)
        assert copy.ensure()
        assert copy.ensure(), "its time may be too coarse to tell one more change"
    assert copy.ensure()
    assert not copy.ensure()


def test_a_home_that_cannot_be_written_costs_time_and_nothing_else(copy: World, tmp_path: Path) -> None:
    copy.memory = tmp_path / "file" / "x" / "verified.json"
    (tmp_path / "file").touch()
    assert copy.ensure()
    assert copy.ensure()


def test_a_known_version_is_checked_within_50_ms(world: World) -> None:
    age(world.folder)
    world.ensure()
    times = []
    for _ in range(5):
        began = time.perf_counter()
        assert not world.ensure()
        times.append(time.perf_counter() - began)
    assert min(times) < 0.05


def test_signing_again_with_another_key_counts_from_then_on(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.sign()
    first = world.public
    secret, world.public = signature.generate()
    world.key.write_bytes(secret)
    world.sign()
    assert not world.ensure()
    with pytest.raises(Refusal, match="not a trusted key"):
        world.ensure(first)


def test_a_part_that_changes_while_it_is_signed_is_not_signed(tmp_path: Path) -> None:
    world = World(tmp_path)

    @contextmanager
    def meddled(_what: str, _size: int) -> Iterator[Callable[[int], None]]:
        yield lambda _: None
        world.flip("disk.qcow2", 0)

    with pytest.raises(manifest.Altered, match="is being changed"):
        sign_version.sign(world.repository, "win", "1.0", signature.private_key(world.key), meddled)
    assert not (world.folder / "manifest.sig").exists()


def test_who_serves_a_file_system_of_his_own_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = tmp_path.stat().st_dev
    line = f"1 0 {os.major(device)}:{os.minor(device)} / /x rw - %s x rw,user_id=%d,group_id=0\n"
    monkeypatch.setattr(mount_table, "OWN", tmp_path / "mountinfo")
    for system, owner, believed in (("fuse.sshfs", 1000, False), ("fuse.gluster", 0, True), ("nfs4", 1000, True)):
        (tmp_path / "mountinfo").write_text(line % (system, owner))
        assert verified.told_truly(tmp_path) is believed


def test_a_private_key_is_plain_and_private(tmp_path: Path) -> None:
    secret, public = signature.generate()
    path = tmp_path / "key"
    path.write_bytes(secret)
    path.chmod(0o640)
    with pytest.raises(Refusal, match="others may read"):
        signature.private_key(path)
    path.chmod(0o600)
    assert signature.private_key(path)
    path.write_bytes(b"-----BEGIN RUBBISH-----\n")
    with pytest.raises(Refusal, match="is not a private Ed25519 key"):
        signature.private_key(path)
    path.write_text(f"{public}\n")
    path.chmod(0o644)
    with pytest.raises(Refusal, match="is a public key"):
        signature.private_key(path)
    with pytest.raises(Refusal, match="No such file"):
        signature.private_key(tmp_path / "gone")
    with pytest.raises(Refusal, match="cannot be read|not a regular file"):
        signature.private_key(tmp_path)


@pytest.mark.parametrize("text", ["", "ssh-ed25519 AAAA", "7lbd-ed25519:", "7lbd-ed25519:AAAA", "7lbd-ed25519:Ä"])
def test_a_trusted_key_that_is_none_is_refused_with_the_settings_name(text: str) -> None:
    with pytest.raises(Refusal, match="trusted_keys") as caught:
        signature.trusted([text])
    assert caught.value.code is ExitCode.USAGE


def test_the_signature_is_that_of_rfc_8032() -> None:
    """Test 1 of section 7.1 says what the public key of a secret is; the rest is the library's own."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    secret = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    public = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
    text = signature.public_text(Ed25519PrivateKey.from_private_bytes(secret))
    assert text == "7lbd-ed25519:" + base64.b64encode(public).decode()


@given(st.lists(st.tuples(st.integers(0, 300), st.binary(min_size=1, max_size=4)), min_size=1, max_size=4))
def test_a_mangled_signature_is_refused_or_another_one(changes: list[tuple[int, bytes]]) -> None:
    lines = ["7lbd signature 1", "7lbd-ed25519:" + base64.b64encode(bytes(32)).decode()]
    lines += [f"{word} {base64.b64encode(bytes(64)).decode()}" for word in ("manifest", "places")]
    real = "\n".join([*lines, ""]).encode()
    mangled = bytearray(real)
    for at, change in changes:
        mangled[at : at + len(change)] = change
    with suppress(manifest.Altered):
        same = signature._parsed(bytes(mangled), Path("s")) == signature._parsed(real, Path("s"))
        assert same == (mangled == real), "one signature has one spelling"


@given(st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.sampled_from(["schema", "manifest", "parts", "x"]), inner, max_size=4),
))  # fmt: skip
def test_no_list_of_places_however_mangled_is_more_than_ignored(table: object) -> None:
    with suppress(KeyError):
        assert verified._places(signature.Signed("", b"", json.dumps(table).encode())) is None
