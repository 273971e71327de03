"""Digests and manifests: one altered byte anywhere is found, and a manifest is never trusted further than its text."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sevenlbd.base.errors import Refusal
from sevenlbd.images import layout
from sevenlbd.images.signing import digest, manifest

MIB = 1 << 20


@pytest.fixture
def version(tmp_path: Path) -> Path:
    """A version with a disk of three chunks, a warm state, and its manifest."""
    folder = tmp_path / "win" / "1.0"
    (folder / "warm").mkdir(parents=True)
    (folder / "image.toml").write_text('name = "win"\nversion = "1.0"\n')
    (folder / "disk.qcow2").write_bytes(os.urandom(9 * MIB))
    (folder / "variables.fd").write_bytes(b"v" * 1000)
    (folder / "warm" / "memory").write_bytes(os.urandom(5 * MIB))
    (folder / "warm" / "warm.json").write_text("{}")
    write(folder)
    return folder


def write(folder: Path) -> manifest.Manifest:
    made = manifest.make(folder)
    (folder / layout.MANIFEST).write_bytes(made.to_json())
    (folder / layout.TREE).write_bytes(made.to_tree())
    return made


def test_our_own_lock_is_no_part_of_an_image_whether_it_was_there_before_or_comes_later(version: Path) -> None:
    before = manifest.make(version).to_json()
    (version / layout.LOCK).touch()
    assert manifest.make(version).to_json() == before
    manifest.check(version, manifest.read(version))


def merkle(chunks: list[bytes]) -> bytes:
    """RFC 9162, section 2.1.1, word by word."""
    if not chunks:
        return hashlib.sha256().digest()
    if len(chunks) == 1:
        return hashlib.sha256(b"\0" + chunks[0]).digest()
    k = 1
    while k * 2 < len(chunks):
        k *= 2
    return hashlib.sha256(b"\1" + merkle(chunks[:k]) + merkle(chunks[k:])).digest()


@given(st.lists(st.binary(max_size=3), max_size=40))
def test_the_root_is_that_of_rfc_9162(chunks: list[bytes]) -> None:
    assert digest.root([digest.leaf(chunk) for chunk in chunks]) == merkle(chunks)


def test_a_manifest_is_read_as_it_was_written(version: Path) -> None:
    made, found = manifest.make(version), manifest.read(version)
    assert found == made
    assert manifest.read_leaves(version, found) == made.leaves
    assert (found.name, found.version) == ("win", "1.0")
    assert list(found.parts) == ["disk.qcow2", "image.toml", "variables.fd", "warm/memory", "warm/warm.json"]
    assert found.parts["variables.fd"].sha256 == hashlib.sha256(b"v" * 1000).hexdigest()
    assert found.size == sum(path.stat().st_size for path in version.rglob("*") if path.name in
                             {Path(name).name for name in found.parts})  # fmt: skip
    told: list[int] = []
    manifest.check(version, found, told.append)
    assert sum(told) == found.size


@pytest.mark.parametrize("name", ["disk.qcow2", "image.toml", "variables.fd", "warm/memory", "warm/warm.json"])
@pytest.mark.parametrize("where", [0.0, 0.5, 1.0])
def test_one_altered_byte_in_any_part_is_found(version: Path, name: str, where: float) -> None:
    flip(version / name, where)
    with pytest.raises(manifest.Altered, match=rf"{name}: was altered"):
        manifest.check(version, manifest.read(version))


def flip(path: Path, where: float) -> int:
    """Change one bit and leave size and time of change as they were; returns its offset."""
    before = path.stat()
    with path.open("r+b") as file:
        at = int((before.st_size - 1) * where)
        file.seek(at)
        (byte,) = file.read(1)
        file.seek(at)
        file.write(bytes([byte ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    return at


def test_one_altered_byte_of_the_tree_is_found(version: Path) -> None:
    for where in (0.0, 0.5, 1.0):
        flip(version / layout.TREE, where)
        with pytest.raises(manifest.Altered, match="does not belong to the manifest"):
            manifest.check(version, manifest.read(version))
        flip(version / layout.TREE, where)
    manifest.check(version, manifest.read(version))


@pytest.mark.parametrize("change", ["+", "-"])
def test_a_tree_of_another_length_is_found(version: Path, change: str) -> None:
    tree = version / layout.TREE
    tree.write_bytes(tree.read_bytes() + bytes(32) if change == "+" else tree.read_bytes()[:-32])
    with pytest.raises(manifest.Altered, match="does not belong"):
        manifest.read_leaves(version, manifest.read(version))


def test_an_added_file_a_removed_one_and_a_link_are_found(version: Path) -> None:
    known = manifest.read(version)
    (version / "warm" / "tpm").write_text("x")
    with pytest.raises(manifest.Altered, match="warm/tpm: is not in the manifest"):
        manifest.check(version, known)
    (version / "warm" / "tpm").unlink()
    (version / "variables.fd").rename(version / "kept")
    (version / "variables.fd").symlink_to("kept")
    with pytest.raises(manifest.Altered, match="is neither a file nor a folder"):
        manifest.check(version, known)
    (version / "variables.fd").unlink()
    (version / "kept").unlink()
    with pytest.raises(manifest.Altered, match="variables.fd: is missing"):
        manifest.check(version, known)


@pytest.mark.parametrize("name", [layout.MANIFEST, layout.TREE])
def test_a_signing_file_that_is_a_link_or_a_pipe_is_refused(version: Path, name: str) -> None:
    (version / name).rename(version.parent / "elsewhere")
    (version / name).symlink_to(version.parent / "elsewhere")
    with pytest.raises(Refusal):
        manifest.check(version, manifest.read(version))
    (version / name).unlink()
    os.mkfifo(version / name)
    with pytest.raises(Refusal):
        manifest.check(version, manifest.read(version))


def test_a_file_that_grew_or_shrank_is_found(version: Path) -> None:
    known = manifest.read(version)
    for size in (9 * MIB - 1, 9 * MIB + 1, 0):
        os.truncate(version / "disk.qcow2", size)
        with pytest.raises(manifest.Altered, match=f"has {size} bytes"):
            manifest.check(version, known)


def test_each_chunk_can_be_checked_alone(version: Path) -> None:
    known = manifest.read(version)
    leaves = manifest.read_leaves(version, known)

    def good(name: str) -> list[bool]:
        chunks = range(max(1, digest.count(known.parts[name].size)))
        return [manifest.check_chunk(version, known, name, index, leaves) for index in chunks]

    assert good("disk.qcow2") == [True, True, True]
    assert good("image.toml") == [True]
    flip(version / "disk.qcow2", 0.5)
    assert good("disk.qcow2") == [True, False, True]
    os.truncate(version / "disk.qcow2", 8 * MIB)
    assert good("disk.qcow2") == [True, False, False]


def test_holes_are_zeroes_and_are_not_read(tmp_path: Path) -> None:
    sparse, full = tmp_path / "sparse", tmp_path / "full"
    with sparse.open("wb") as file:
        file.seek(9 * MIB)
        file.write(b"x")
        file.truncate(17 * MIB)
    full.write_bytes(sparse.read_bytes())
    assert digest.leaves(sparse, 17 * MIB) == digest.leaves(full, 17 * MIB)
    huge = tmp_path / "huge"
    with huge.open("wb") as file:
        file.truncate(1 << 36)
    assert len(set(digest.leaves(huge, 1 << 36))) == 1, "64 GiB of holes take no time"


def parsed(table: object) -> manifest.Manifest:
    return manifest.parse(json.dumps(table).encode(), Path("m"))


@pytest.mark.parametrize(
    "name", ["../x", "/etc/passwd", "a//b", "a/../b", ".", "", "a/", "a\nb", "manifest.sig", "x" * 300, 7]
)
def test_a_manifest_names_nothing_outside_its_folder(name: str) -> None:
    # By hand: a key that is no text cannot be said in JSON.
    with pytest.raises(manifest.Altered, match="is not a manifest"):
        manifest.parse(
            json.dumps({"schema": 1, "name": "a", "version": "", "parts": {name: {"size": 1, "sha256": "0" * 64}}})
            .replace('"7"', "7")
            .encode(),
            Path("m"),
        )


@pytest.mark.parametrize(
    "part",
    [
        {"size": -1, "sha256": "0" * 64},
        {"size": True, "sha256": "0" * 64},
        {"size": 1 << 60, "root": "0" * 64, "chunk": digest.CHUNK},
        {"size": 1},
        {"size": 1, "sha256": "0" * 63},
        {"size": 1, "sha256": "0" * 64, "more": 1},
        {"size": digest.CHUNK + 1, "sha256": "0" * 64},
        {"size": digest.CHUNK + 1, "root": "0" * 64, "chunk": 1},
        [],
        None,
    ],
)
def test_a_part_that_makes_no_sense_is_refused(part: object) -> None:
    with pytest.raises(manifest.Altered, match="is not a manifest"):
        parsed({"schema": 1, "name": "a", "version": "", "parts": {"disk": part}})


@given(st.one_of(st.binary(max_size=200), st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.floats(),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["schema", "name", "version", "parts", "size", "root"]), inner, max_size=5),
).map(lambda value: json.dumps(value).encode())))  # fmt: skip
def test_no_manifest_however_mangled_is_more_than_refused(content: bytes) -> None:
    with suppress(manifest.Altered):
        manifest.parse(content, Path("m"))
