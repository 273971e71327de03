"""Images: found, described, and never trusted further than their own folder."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import MakeQcow2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sevenlbd.base.errors import ExitCode, Refusal
from sevenlbd.images import description, qcow2
from sevenlbd.images.image_lock import in_use
from sevenlbd.images.lookup import image


def test_a_bare_qcow2_gets_the_defaults_of_a_byu_image(make_qcow2: MakeQcow2) -> None:
    found = image.resolve(str(make_qcow2()), [])
    described = found.description
    assert (described.os, described.firmware, described.disk_bus, described.nic) == (
        "windows",
        "uefi",
        "ahci",
        "virtio",
    )
    assert (described.channels, described.user, described.machine) == (("smbios",), "user1", "pc-q35-10.0")
    assert found.size == 1 << 30
    assert found.layers == (image.ImageLayer(make_qcow2().resolve(), "qcow2"),)


def test_a_link_to_the_image_is_resolved(make_qcow2: MakeQcow2, tmp_path: Path) -> None:
    link = tmp_path / "latest.qcow2"
    link.symlink_to(make_qcow2(tmp_path / "v7.qcow2"))
    assert image.resolve(str(link), []).layers[0].path == tmp_path / "v7.qcow2"


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"cut": 70_000}, "truncated"),
        ({"cut": 262_094}, "truncated inside its header"),
        ({"cut": 200_000}, "truncated"),
        ({"encryption": 1}, "encrypted"),
        ({"incompatible": 4}, "keeps its data in another file"),
        ({"incompatible": 2}, "corrupt"),
        ({"version": 9}, "version 9"),
    ],
)
def test_a_qcow2_that_is_not_whole_and_plain_is_refused(
    make_qcow2: MakeQcow2, options: dict[str, int], why: str
) -> None:
    path = make_qcow2(**options)
    with pytest.raises(Refusal, match=why) as caught:
        image.resolve(str(path), [])
    assert caught.value.code is ExitCode.IMAGE


@pytest.mark.parametrize("content", [b"", b"QFI", b"MZ" * 300, b"\0" * 4096])
def test_what_is_no_qcow2_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "disk.qcow2"
    path.write_bytes(content)
    with pytest.raises(Refusal, match="does not begin with a qcow2 header"):
        image.resolve(str(path), [])


@pytest.mark.parametrize(
    ("backing", "why"),
    [
        ('json:{"driver":"file","filename":"/etc/passwd"}', "not a plain file name"),
        ("nbd://10.0.0.1/x", "not a plain file name"),
        ("fat:rw:/home", "not a plain file name"),
        ("/etc/passwd", "outside the image's folder"),
        ("../other/base.qcow2", "outside the image's folder"),
        ("gone.qcow2", "does not exist"),
    ],
)
def test_a_hostile_or_missing_backing_file_is_refused(make_qcow2: MakeQcow2, backing: str, why: str) -> None:
    path = make_qcow2(backing=backing, backing_format="raw")
    with pytest.raises(Refusal, match=why):
        image.resolve(str(path), [])


def test_a_backing_file_without_a_format_is_refused(make_qcow2: MakeQcow2, tmp_path: Path) -> None:
    make_qcow2(tmp_path / "base.qcow2")
    with pytest.raises(Refusal, match="the format of its backing file"):
        image.resolve(str(make_qcow2(backing="base.qcow2")), [])


def test_a_link_that_leads_a_backing_file_out_is_refused(make_qcow2: MakeQcow2, tmp_path: Path) -> None:
    folder = tmp_path / "image"
    folder.mkdir()
    (folder / "base.raw").symlink_to("/etc/passwd")
    path = make_qcow2(folder / "disk.qcow2", backing="base.raw", backing_format="raw")
    with pytest.raises(Refusal, match="outside the image's folder"):
        image.resolve(str(path), [])


def test_a_chain_in_one_folder_is_walked(make_qcow2: MakeQcow2, tmp_path: Path) -> None:
    make_qcow2(tmp_path / "base.qcow2")
    top = make_qcow2(tmp_path / "top.qcow2", backing="base.qcow2", backing_format="qcow2")
    assert [layer.path.name for layer in image.resolve(str(top), []).layers] == ["top.qcow2", "base.qcow2"]


def test_a_circle_of_backing_files_is_refused(make_qcow2: MakeQcow2, tmp_path: Path) -> None:
    path = make_qcow2(tmp_path / "disk.qcow2", backing="disk.qcow2", backing_format="qcow2")
    with pytest.raises(Refusal, match="circle"):
        image.resolve(str(path), [])


def test_a_name_is_looked_up_in_the_folders_in_order(make_qcow2: MakeQcow2, tmp_path: Path) -> None:
    for place in ("near", "far"):
        folder = tmp_path / place / "win"
        folder.mkdir(parents=True)
        make_qcow2(folder / "disk.qcow2")
        (folder / "image.toml").write_text(f'name = "{place}"\n')
    folders = [tmp_path / "near", tmp_path / "far"]
    assert image.resolve("win", folders).title == "near"
    assert image.resolve("", folders[1:]).title == "far"
    with pytest.raises(Refusal, match="known there: win"):
        image.resolve("mac", folders)


def test_an_unknown_key_names_the_nearest(tmp_path: Path) -> None:
    toml = tmp_path / "image.toml"
    toml.write_text('firmwear = "uefi"\n')
    with pytest.raises(Refusal, match="`firmwear` is not a key of image.toml; did you mean `firmware`"):
        description.read(toml)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("os = ", "is not TOML"),
        ('os = "plan9"', "`os` = 'plan9'"),
        ("cpus = 0", "`cpus` = 0"),
        ('memory = "big"', "a size is a number"),
        ('machine = "microvm"', "`machine`"),
        ('user = "a b"', "`user`"),
        ('channels = ["pigeon"]', "`channels`"),
    ],
)
def test_a_wrong_description_is_refused(tmp_path: Path, text: str, why: str) -> None:
    toml = tmp_path / "image.toml"
    toml.write_text(text)
    with pytest.raises(Refusal, match=why):
        description.read(toml)


def test_a_disk_elsewhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "image.toml").write_text('disk = "../secret.qcow2"\n')
    with pytest.raises(Refusal, match="must be a file's name in the same folder"):
        image.from_folder(tmp_path)


def test_an_image_in_use_shows_it(make_qcow2: MakeQcow2) -> None:
    layer = str(make_qcow2())
    other = os.open(layer, os.O_RDONLY)
    with in_use([layer]), pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with pytest.raises(Refusal, match="somebody is changing it"), in_use([layer]):
        pass
    os.close(other)


def test_the_size_of_the_disk_is_the_headers(make_qcow2: MakeQcow2) -> None:
    assert qcow2.read(make_qcow2()) == qcow2.Header(1 << 30, "", "")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.integers(0, 159), st.binary(min_size=1, max_size=8)), max_size=6))
def test_no_header_however_mangled_is_more_than_refused(
    make_qcow2: MakeQcow2, changes: list[tuple[int, bytes]]
) -> None:
    path = make_qcow2(backing="base.qcow2", backing_format="qcow2")
    with path.open("r+b") as file:
        for offset, change in changes:
            file.seek(offset)
            file.write(change)
    with suppress(qcow2.HeaderError):
        assert 0 < qcow2.read(path).size <= 1 << 48


@pytest.mark.parametrize("size", [0, 1 << 63])
def test_a_disk_of_an_impossible_size_is_refused(make_qcow2: MakeQcow2, size: int) -> None:
    path = make_qcow2()
    with path.open("r+b") as file:
        file.seek(24)
        file.write(size.to_bytes(8, "big"))
    with pytest.raises(qcow2.HeaderError, match=f"a disk of {size} bytes"):
        qcow2.read(path)


@pytest.mark.parametrize("text", ["a = " + "[" * 5000, "memory = " + "9" * 5000, "\udcff", "#" * 300_000])
def test_an_endless_or_mangled_description_is_refused(tmp_path: Path, text: str) -> None:
    toml = tmp_path / "image.toml"
    toml.write_text(text, errors="surrogateescape")
    with pytest.raises(Refusal, match="is not TOML"):
        description.read(toml)


def test_a_pipe_in_place_of_a_description_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "image.toml")
    with pytest.raises(Refusal, match="not a regular file"):
        description.read(tmp_path / "image.toml")
