"""Signed images: a site that requires them starts nothing that was not signed, or was changed since."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import harness
import pytest
from conftest import Refuse, StartSession
from strange import IMAGE, RESOURCES, USAGE, boots, node, refusal

MIB = 1 << 20
DESCRIBED = ["--os", "linux", "--firmware", "bios", "--memory", "128M", "--cpus", "1"]


class Site:
    """A site with a key, a repository with one signed version, and a settings file that asks for signatures."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.images = folder / "images"
        self.key = folder / "site.key"
        self.toml = folder / "7lbd.toml"
        self.version = self.images / "win" / "1.0"
        (folder / "home").mkdir()

    def image(self, verb: str, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        where = ["--image-dir", str(self.images)]
        return harness.run("image", verb, *where, *words, **options)

    def require(self, *keys: str) -> None:
        listed = ", ".join(f'"{key}"' for key in keys)
        self.toml.write_text(f"require_signed = true\ntrusted_keys = [{listed}]\n")

    @property
    def public(self) -> str:
        return (self.folder / "site.pub").read_text().strip()

    @property
    def options(self) -> list[str]:
        """Apptainer's options for the site's settings file."""
        return ["--bind", f"{self.toml}:/etc/7lbd/7lbd.toml"]

    @property
    def run(self) -> dict[str, object]:
        """For `start` and `refuse`: the site's settings, and a home of its own for what is remembered."""
        return {"options": self.options, "env": {"XDG_CACHE_HOME": str(self.folder / "home")}}

    @property
    def wanted(self) -> Sequence[str]:
        return ("--image-dir", str(self.images), "--image", "win@1.0")


def done(call: subprocess.CompletedProcess[str]) -> str:
    assert call.returncode == 0, call.stderr + call.stdout
    return call.stdout


@pytest.fixture(scope="module")
def made(work: Path) -> Iterator[Site]:
    """What all tests begin with; none may change it."""
    folder = work / "signed"
    folder.mkdir()
    site = Site(folder)
    raw = folder / "disk.raw"
    raw.write_bytes(os.urandom(6 * MIB))
    printed = done(site.image("keygen", str(folder / "site")))
    assert site.public in printed
    words = ["--name", "win", "--version", "1.0", "--format", "raw", "--publish", *DESCRIBED]
    done(site.image("add", str(raw), *words))
    done(site.image("sign", "win@1.0", "--key", str(site.key)))
    site.require(site.public)
    yield site
    harness.open_up(folder)


@pytest.fixture
def site(made: Site, work: Path) -> Iterator[Site]:
    """A copy of it, which a test may spoil."""
    folder = work / "spoilt"
    shutil.copytree(made.folder, folder, symlinks=True)
    os.sync()  # only what is on the disk can be taken out of the page cache
    harness.open_up(folder)
    shutil.rmtree(folder / "home")
    site = Site(folder)
    site.require(site.public)
    yield site
    harness.remove(folder)


def flip(path: Path) -> None:
    """Change one bit in the middle, keep size and time of change."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o600)
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns


def test_a_key_pair_is_private_and_never_overwritten(made: Site) -> None:
    assert made.key.stat().st_mode & 0o777 == 0o600
    assert made.key.read_text().startswith("-----BEGIN PRIVATE KEY-----")
    refusal(made.image("keygen", str(made.folder / "site")), USAGE, ["site.key", "never overwritten"])


def forget(path: Path) -> None:
    """Take a file out of the page cache."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def part_read(path: Path) -> float:
    """How much of it is in the page cache (fincore(1)): what was not read since it was taken out is not."""
    call = ["fincore", "--bytes", "--noheadings", "--output", "RES,SIZE", str(path)]
    cached, size = subprocess.run(call, capture_output=True, text=True, check=True).stdout.split()
    return int(cached) / int(size)


def test_a_signed_image_starts_and_is_not_read_for_it(made: Site, start: StartSession) -> None:
    forget(made.version / "disk.qcow2")
    boots(start(*made.wanted, **made.run))
    assert part_read(made.version / "disk.qcow2") < 0.5


def test_verify_and_check_read_all_and_say_so(made: Site) -> None:
    printed = done(made.image("verify", "win", options=made.options))
    assert made.public in printed
    assert "2 parts" in printed
    printed = done(made.image("check", "win", options=made.options))
    assert "ok      digests of 2 parts" in printed
    assert f"ok      signature by {made.public}" in printed
    refusal(made.image("verify", "win"), USAGE, ["no public key is trusted", "--trust"])
    done(made.image("verify", "win", "--trust", str(made.folder / "site.pub")))


@pytest.mark.parametrize("name", ["disk.qcow2", "image.toml", "manifest.json", "manifest.tree", "manifest.sig"])
def test_an_altered_byte_anywhere_is_refused_before_anything_starts(site: Site, refuse: Refuse, name: str) -> None:
    flip(site.version / name)
    # A signature that does not fit may be the altered one, or stand for what was altered.
    says = [name if name in ("disk.qcow2", "image.toml") else "manifest."]
    refuse(*site.wanted, code=IMAGE, says=says, **site.run)
    refusal(site.image("verify", "win", options=site.options), IMAGE, says)
    if name != "manifest.sig":
        checked = site.image("check", "win", options=site.options)
        assert checked.returncode == IMAGE
        assert "not ok  " in checked.stdout


def test_a_copy_is_read_once_then_known_and_a_change_is_noticed(
    site: Site, start: StartSession, refuse: Refuse
) -> None:
    """As in a node's cache: same bytes, other files. The change keeps size, inode and time of change."""
    disk = site.version / "disk.qcow2"
    time.sleep(2.1)  # what changed just now is not remembered
    for read_to in (1.0, 0.5):
        forget(disk)
        boots(start(*site.wanted, **site.run))
        read = part_read(disk)
        assert read > 0.9 if read_to == 1 else read < read_to, (read, read_to)
    memory = site.folder / "home" / "7lbd" / "verified.json"
    assert memory.stat().st_mode & 0o777 == 0o600
    flip(disk)
    refuse(*site.wanted, code=IMAGE, says=["disk.qcow2: was altered"], **site.run)


def test_what_no_trusted_key_has_signed_is_refused(site: Site, refuse: Refuse, tmp_path: Path) -> None:
    done(site.image("keygen", str(tmp_path / "other")))
    other = (tmp_path / "other.pub").read_text().strip()
    site.require(other)
    refuse(*site.wanted, code=IMAGE, says=["not a trusted key", site.public, other], **site.run)
    refusal(site.image("verify", "win", options=site.options), IMAGE, ["not a trusted key"])
    site.require(site.public)
    (site.version / "manifest.sig").unlink()
    refuse(*site.wanted, code=IMAGE, says=["is not signed", "7lbd image sign"], **site.run)
    bare = str(site.version / "disk.qcow2")
    refuse("--image", bare, code=IMAGE, says=["bare disk", "cannot be signed"], **site.run)
    site.require("ssh-rsa AAAA")
    refuse(*site.wanted, code=USAGE, says=["trusted_keys", "is not a public key"], **site.run)


def test_a_user_cannot_do_without(made: Site, refuse: Refuse) -> None:
    env = {"SEVENLBD_REQUIRE_SIGNED": "false"}
    refuse(*made.wanted, code=USAGE, says=["for the site's settings file only"], options=made.options, env=env)


def test_a_file_that_was_added_is_refused(site: Site, refuse: Refuse) -> None:
    (site.version / "warm").mkdir()
    (site.version / "warm" / "memory").write_bytes(b"x")
    refuse(*site.wanted, code=IMAGE, says=["warm/memory", "is not in the manifest"], **site.run)


def test_signing_wants_a_private_key_and_a_version(site: Site) -> None:
    site.key.chmod(0o644)
    refusal(site.image("sign", "win@1.0", "--key", str(site.key)), USAGE, ["others may read", "chmod 600"])
    refusal(site.image("sign", "win@1.0", "--key", str(site.toml)), USAGE, ["others may read"])
    refusal(site.image("sign", "win", "--key", str(site.key)), USAGE, ["names no version"])


def test_signing_on_a_full_disk_leaves_the_version_as_it_was(made: Site, base: Path) -> None:
    small = f"{base}/small"
    changes = f"""
    mkdir {small}; mount -t tmpfs -o size=8m tmpfs {small}
    mkdir -p {small}/win/1.0; cp {made.version}/disk.qcow2 {made.version}/image.toml {small}/win/1.0
    dd if=/dev/zero of={small}/filler bs=4k 2>{base}/log || true
    """
    script = f'"$@"; code=$?; ls -A {small}/win/1.0 {small}/win >{base}/listing; exit $code'
    words = ["image", "sign", "win@1.0", "--key", str(made.key), "--image-dir", small]
    call = harness.run(*words, prefix=[*node(changes), "sh", "-c", script, "sh"])
    refusal(call, RESOURCES, [small])
    listing = (base / "listing").read_text()
    assert "disk.qcow2" in listing
    assert "manifest.sig" not in listing
    assert ".seal-" not in listing


def test_a_version_is_made_warm_before_it_is_signed_and_copied_only_as_it_was_signed(site: Site, base: Path) -> None:
    """Its guest never answers: that it is waited for shows that nothing was in the way."""
    with_agent = site.version.with_name("2.0")
    shutil.copytree(site.version, with_agent, ignore=shutil.ignore_patterns("manifest.*"))
    toml = with_agent / "image.toml"
    toml.chmod(0o600)
    toml.write_text(re.sub("^channels = .*$", 'channels = ["agent"]', toml.read_text(), flags=re.MULTILINE))
    asked = ("--session-dir", str(base), "--ready-timeout", "1s")
    fresh = site.image("warm", "win@2.0", *asked, options=site.options)
    assert (fresh.returncode, "not ready within 1 s" in fresh.stderr) == (7, True), fresh.stderr
    done(site.image("sign", "win@2.0", "--key", str(site.key)))
    flip(with_agent / "disk.qcow2")
    refusal(site.image("warm", "win@2.0", "--as", "2.1", *asked, options=site.options), IMAGE, ["was altered"])
