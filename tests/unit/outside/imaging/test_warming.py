"""A new version with a warm state: a copy of the old one, less what does not belong to it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import MakeQcow2
from sevenlbd.base.errors import Refusal
from sevenlbd.config import sources
from sevenlbd.config.settings import Settings
from sevenlbd.images import warm
from sevenlbd.images.lookup import image as images
from sevenlbd.images.names import Reference
from sevenlbd.images.repository.versions import Repository
from sevenlbd.images.signing import manifest
from sevenlbd.outside.imaging import warming


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """A repository with one version that is signed, in name at least, and has an old warm state."""
    made = Repository(tmp_path / "images")
    with made.staged("win", "1") as staging:
        (staging / "image.toml").write_text('title = "Windows"\ndisk = "disk.raw"\nformat = "raw"\nversion = "1"\n')
        (staging / "disk.raw").write_bytes(b"disk" * 4096)
        (staging / "warm").mkdir()
        (staging / "warm" / "memory").write_bytes(b"old")
        for name in manifest.SIGNATURE_FILES:
            (staging / name).write_text("{}")
    return made


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    folder = tmp_path / "images" / "win" / ".warm-x" / "warm"
    folder.mkdir(parents=True)
    (folder / "memory").write_bytes(b"new")
    return folder


def test_it_has_the_disk_the_new_state_its_own_name_and_no_seal(repository: Repository, fresh: Path) -> None:
    old = repository.folder(Reference("win", "1"))
    warming._copy_version(repository, images.from_folder(old), "2", fresh)
    new = repository.folder(Reference("win", "2"))
    assert {path.name for path in new.iterdir()} == {"disk.raw", "image.toml", "warm"}
    assert (new / "disk.raw").read_bytes() == (old / "disk.raw").read_bytes()
    assert (new / "warm" / "memory").read_bytes() == b"new"
    assert (old / "warm" / "memory").read_bytes() == b"old"
    described = images.from_folder(new).description
    assert (described.name, described.version, described.title) == ("win", "2", "Windows")
    assert not new.stat().st_mode & 0o222
    assert not (new / "warm").stat().st_mode & 0o222


def test_a_part_that_cannot_be_copied_leaves_nothing(repository: Repository, fresh: Path) -> None:
    old = images.from_folder(repository.folder(Reference("win", "1")))
    old.layers[0].path.chmod(0)
    with pytest.raises(Refusal, match="the new version cannot be kept there"):
        warming._copy_version(repository, old, "2", fresh)
    assert repository.versions("win") == ["1"]
    assert not list((repository.path / "win").glob(".new-*"))


def test_one_makes_a_state_at_a_time_and_what_a_killed_one_left_is_taken_away(repository: Repository) -> None:
    version = repository.folder(Reference("win", "1"))
    code = (
        "import sys, time; from pathlib import Path; from sevenlbd.outside.imaging import warming\n"
        "with warming._staging(Path(sys.argv[1])) as fresh:\n"
        "    (fresh / 'memory').write_bytes(b'half'); print('there', flush=True); time.sleep(600)\n"
    )
    other = subprocess.Popen([sys.executable, "-c", code, str(version)], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout
        assert other.stdout.readline() == "there\n"
        with pytest.raises(Refusal, match="somebody else is changing it"), warming._staging(version):
            pass
        assert (version.parent / ".warm-1" / "warm" / "memory").exists()
    finally:
        other.kill()
        other.communicate()
    with warming._staging(version) as fresh:
        assert list(fresh.iterdir()) == []
    assert not list(version.parent.glob(".warm*"))


NEEDS = warm.Needs(
    qemu="1", machine="q35", accel="tcg", cpu="max", cpus=1, memory=1 << 20, network="tap", firmware="bios",
    disk_bus="virtio", nic="virtio", display="std", layers=(1,),
)  # fmt: skip


@pytest.fixture
def frozen(tmp_path: Path) -> Path:
    """What a frozen machine leaves in its session's folder."""
    place = tmp_path / "session"
    place.mkdir()
    for name in ("overlay.qcow2", "memory", "state"):
        (place / name).write_bytes(b"x" * 4096)
    return place


def test_what_a_frozen_machine_leaves_is_taken_whole(tmp_path: Path, frozen: Path) -> None:
    target = tmp_path / "warm"
    target.mkdir()
    warming._take(frozen, warm.WarmState(target, NEEDS, ""), size=1 << 20)
    assert {path.name for path in target.iterdir()} == {"disk.qcow2", "memory", "state", "warm.json"}
    assert (target / "disk.qcow2").read_bytes() == b"x" * 4096


@pytest.mark.parametrize("name", ["overlay.qcow2", "memory", "state"])
@pytest.mark.parametrize("trap", ["link", "fifo", "huge"])
def test_nothing_is_taken_through_a_link_of_a_pipe_or_without_end(
    tmp_path: Path, frozen: Path, name: str, trap: str
) -> None:
    (tmp_path / "secret").write_text("the admin's key")
    target = tmp_path / "warm"
    target.mkdir()
    (frozen / name).unlink()
    if trap == "link":
        (frozen / name).symlink_to(tmp_path / "secret")
    elif trap == "fifo":
        os.mkfifo(frozen / name)
    else:
        with (frozen / name).open("wb") as file:
            file.truncate(1 << 43)
    with pytest.raises(Refusal, match="cannot be kept there"):
        warming._take(frozen, warm.WarmState(target, NEEDS, ""), size=1 << 20)
    assert not (target / "warm.json").exists()
    assert not [path for path in target.iterdir() if "key" in path.read_text(errors="replace")]


def test_a_machine_that_is_frozen_is_waited_for_as_every_other_is(tmp_path: Path, make_qcow2: MakeQcow2) -> None:
    image = tmp_path / "image"
    image.mkdir()
    make_qcow2(image / "disk.qcow2")
    described = 'schema = 1\nmemory = "64M"\ncpus = 1\nchannels = ["smbios", "agent"]\nlogon_hook = ["logon"]\n'
    (image / "image.toml").write_text(described)
    settings = Settings.model_validate({"accel": "tcg", "network": "user", "min_space": 0})
    with tempfile.TemporaryDirectory() as short:  # sockets are in it
        here = sources.look_around({"HOME": str(tmp_path), "TMPDIR": short})
        context: Any = SimpleNamespace(settings=settings, here=here, umask=0o077, folders=[])
        prepared, _ = warming._prepared(context, images.from_folder(image), image)
    assert prepared.plan.guest.smbios, "its task may make another certificate before its ready line"
    assert prepared.plan.logon_hook == ("logon",)
