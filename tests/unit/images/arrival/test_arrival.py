"""A version that lies encrypted: nothing of it in the clear, and started from only when it is what was signed."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
from sevenlbd.base.errors import Refusal
from sevenlbd.images import layout
from sevenlbd.images.arrival import approved, copying
from sevenlbd.images.cache import fetch
from sevenlbd.images.encryption import encrypted_version
from sevenlbd.images.lookup import image as images
from sevenlbd.images.repository import sign_version
from sevenlbd.images.repository.versions import Repository
from sevenlbd.images.signing import signature

MIB = 1 << 20
KEY, OTHER = secrets.token_bytes(32), secrets.token_bytes(32)
MARK = secrets.token_hex(20).encode()


class World:
    """A signed version in a repository, and a place that it comes to."""

    def __init__(self, folder: Path) -> None:
        secret, self.public = signature.generate()
        (folder / "site.key").write_bytes(secret)
        (folder / "site.key").chmod(0o600)
        repository = Repository(folder / "images")
        with repository.staged("win", "1.0") as fresh:
            self._fill(fresh)
        private = signature.private_key(folder / "site.key")
        sign_version.sign(repository, "win", "1.0", private, lambda _what, _size: nullcontext(lambda _: None))
        self.origin = folder / "images" / "win" / "1.0"
        self.here = folder / "here" / "win" / "1.0"

    def _fill(self, fresh: Path) -> None:
        (fresh / "image.toml").write_text('name = "win"\nversion = "1.0"\nos = "linux"\nfirmware = "bios"\n')
        raw, base = fresh / "raw", fresh / "base.qcow2"
        raw.write_bytes(MARK * 200_000 + os.urandom(MIB))
        for command in (
            ("convert", "-O", "qcow2", raw, base),
            ("create", "-q", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", fresh / layout.DISK, "64M"),
        ):
            subprocess.run(["qemu-img", *map(str, command)], check=True, cwd=fresh)
        raw.unlink()
        (fresh / "warm").mkdir()
        (fresh / "warm" / layout.WARM_MEMORY).write_bytes(bytes(6 * MIB) + MARK * 1000 + bytes(MIB))
        (fresh / "warm" / layout.WARM_STATE).write_bytes(MARK * 1000)

    def take(self, key: bytes = KEY) -> None:
        self.here.parent.mkdir(parents=True, exist_ok=True)
        copying.take(fetch.look(self.origin), self.here, key)

    def check(self, key: bytes = KEY) -> None:
        approved.check(self.here, [self.public], None, key)

    def rewrite(self, name: str, change: Callable[[bytes], bytes]) -> None:
        path = self.here / name
        for above in (path.parent, path):
            above.chmod(0o700)
        path.write_bytes(change(path.read_bytes()))

    def marked(self) -> list[str]:
        return [path.name for path in self.here.rglob("*") if path.is_file() and MARK in path.read_bytes()]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_nothing_of_disk_or_memory_is_in_the_clear(world: World) -> None:
    assert any(MARK in path.read_bytes() for path in world.origin.rglob("*") if path.is_file()), "there it is"
    world.take()
    assert world.marked() == []
    world.check()


def test_it_is_the_same_disk_with_the_key_and_none_without(world: World) -> None:
    world.take()
    image, plain = images.from_folder(world.here, KEY), images.from_folder(world.origin)
    assert image.size == plain.size
    assert [(layer.path.name, layer.format, layer.size) for layer in image.layers] == [
        (layer.path.name, layer.format, layer.size) for layer in plain.layers
    ]
    assert len(set(image.keys.values())) == 4, "each file has a key of its own"
    assert not images.from_folder(world.here).keys
    with pytest.raises(Refusal, match="was not written with the key that is here"):
        images.from_folder(world.here, OTHER)


def test_what_has_arrived_is_not_read_again_and_a_kill_on_the_way_leaves_nothing_in_the_clear(world: World) -> None:
    child = os.fork()
    if not child:
        seen = [0]

        def told(_: fetch.Tally) -> None:
            seen[0] += 1
            if seen[0] == 5:
                os.kill(os.getpid(), signal.SIGKILL)

        world.here.parent.mkdir(parents=True)
        copying.take(fetch.look(world.origin), world.here, KEY, 0, told)
        os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    assert world.marked() == []
    assert not encrypted_version.is_one(world.here), "it is no version yet"
    tally = copying.take(fetch.look(world.origin), world.here, KEY)
    assert tally.kept > 0
    world.check()


@pytest.mark.parametrize(
    ("name", "at"), [(layout.DISK, 3 * MIB), ("base.qcow2", 3 * MIB), ("warm/memory", 100), ("warm/state", 100)]
)
def test_an_altered_file_is_not_started_from(world: World, name: str, at: int) -> None:
    world.take()
    at = min(at, (world.here / name).stat().st_size - 1)
    world.rewrite(name, lambda was: was[:at] + bytes([was[at] ^ 1]) + was[at + 1 :])
    with pytest.raises(Refusal, match=f"{name}: was altered"):
        world.check()


def test_a_file_too_many_or_too_few_is_found(world: World) -> None:
    world.take()
    world.here.chmod(0o700)
    (world.here / "more.qcow2").touch()
    with pytest.raises(Refusal, match=r"more\.qcow2: is missing, or does not belong there"):
        world.check()
    (world.here / "more.qcow2").rename(world.here / "base.qcow2")
    with pytest.raises(Refusal, match=r"base\.qcow2: was altered"):
        world.check()


def test_what_is_in_the_clear_is_held_to_the_manifest(world: World) -> None:
    world.take()
    world.rewrite(layout.DESCRIPTION, lambda was: was + b"cpus = 64\n")
    with pytest.raises(Refusal, match=r"image\.toml: was altered"):
        world.check()


def test_a_record_that_somebody_else_wrote_is_none(world: World) -> None:
    world.take()
    world.rewrite(layout.ENCRYPTED, lambda was: was.replace(b"qcow2", b"raw", 1))
    with pytest.raises(Refusal, match="was not written with the key"):
        world.check()
    world.rewrite(layout.ENCRYPTED, lambda _: b"[]")
    with pytest.raises(Refusal, match="cannot be read"):
        world.check()


def test_the_record_of_another_version_does_not_stand_in(world: World, tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    second = World(tmp_path / "second")
    for each in (world, second):
        each.take()
    second.public = world.public
    world.rewrite(layout.ENCRYPTED, lambda _: (second.here / layout.ENCRYPTED).read_bytes())
    with pytest.raises(Refusal, match="its manifest is another than it was encrypted by"):
        world.check()


def test_a_signature_that_nobody_trusts_is_none_however_well_it_was_encrypted(world: World) -> None:
    world.take()
    _, world.public = signature.generate()
    with pytest.raises(Refusal, match="trust"):
        world.check()


def test_a_source_that_is_not_what_was_signed_is_not_taken(world: World) -> None:
    path = world.origin / "base.qcow2"
    path.parent.chmod(0o700)
    path.chmod(0o600)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(Refusal, match=r"base\.qcow2: was altered"):
        world.take()
    assert not encrypted_version.is_one(world.here)
