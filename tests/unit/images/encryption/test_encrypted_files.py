"""What is encrypted here is opened by QEMU with the key, by nobody without it, and is what was put in."""

from __future__ import annotations

import os
import secrets
import subprocess
from pathlib import Path

import pytest
from sevenlbd.images import qcow2
from sevenlbd.images.encryption import encrypted_disk, luks
from sevenlbd.images.encryption.encrypted_file import PIECE, EncryptedFile, LuksFile, SealedFile
from sevenlbd.images.qcow2 import HeaderError

MIB = 1 << 20
KEY, OTHER = secrets.token_hex(32), secrets.token_hex(32)


def qemu(program: str, key: str, *words: str) -> subprocess.CompletedProcess[str]:
    """A program of QEMU's, with the key as it gets it in a session: by a pipe."""
    reading, writing = os.pipe()
    os.write(writing, key.encode())
    os.close(writing)
    secret = f"secret,id=k,format=raw,file=/proc/self/fd/{reading}"
    try:
        return subprocess.run(
            [program, *words[:1], "--object", secret, *words[1:]]
            if program == "qemu-img"
            else [program, "--object", secret, *words],
            capture_output=True,
            text=True,
            pass_fds=[reading],
            check=False,
        )
    finally:
        os.close(reading)


@pytest.mark.parametrize("size", [MIB, 10 << 30, (3 << 40) + MIB])
def test_an_encrypted_overlay_is_one_for_qemu(tmp_path: Path, size: int) -> None:
    path = tmp_path / "overlay.qcow2"
    encrypted_disk.make(path, size, KEY)
    node = f"driver=qcow2,file.filename={path},encrypt.key-secret=k"
    at = str(size - MIB)
    done = qemu("qemu-io", KEY, "--image-opts", node, "-c", f"write -P 7 {at} 1M", "-c", f"read -P 7 {at} 1M")
    assert done.returncode == 0, done.stdout + done.stderr
    assert qemu("qemu-img", KEY, "check", "--image-opts", node).returncode == 0
    assert qcow2.read(path, encrypted=True).size == size
    assert bytes([7]) * 512 not in path.read_bytes()
    assert "Invalid password" in qemu("qemu-io", OTHER, "--image-opts", node, "-c", "read 0 512").stderr
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_header_of_another_kind_is_not_taken_for_ours(tmp_path: Path) -> None:
    path = tmp_path / "overlay.qcow2"
    encrypted_disk.make(path, MIB, KEY)
    with pytest.raises(HeaderError, match="it is encrypted"):
        qcow2.read(path)
    with pytest.raises(luks.WrongKey):
        luks.master_key(luks.header(KEY)[0], OTHER)


def test_two_disks_of_one_key_have_nothing_in_common() -> None:
    (one, first), (two, second) = luks.header(KEY), luks.header(KEY)
    assert first != second
    assert one[4096:] != two[4096:]
    assert luks.master_key(one, KEY) == first


@pytest.mark.parametrize("size", [1000, 5 * MIB + 12345])
def test_a_disk_that_came_in_pieces_is_read_by_qemu(tmp_path: Path, size: int) -> None:
    path, content = tmp_path / "disk", os.urandom(size)
    with path.open("w+b") as file:
        disk = LuksFile(file.fileno(), size, KEY)
        for at in reversed(range(0, size, 4 * MIB)):
            disk.write(at, content[at : at + 4 * MIB])
        assert disk.read(0, size) == content
        assert disk.read(700, 100) == content[700:800]
        again = LuksFile(file.fileno(), size, KEY)
        assert again.read(0, size) == content, "what is there already stays"
    node = f"driver=luks,key-secret=k,file.filename={path}"
    done = qemu("qemu-img", KEY, "convert", "--image-opts", node, "-O", "raw", str(tmp_path / "plain"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "plain").read_bytes()[:size] == content


def sealed(path: Path, content: bytes) -> SealedFile:
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    made = SealedFile(file, len(content), KEY)
    made.write(0, content)
    return made


def test_what_is_sealed_comes_back_and_its_holes_stay_holes(tmp_path: Path) -> None:
    content = os.urandom(PIECE) + bytes(40 * PIECE) + os.urandom(1234)
    made = sealed(tmp_path / "memory", content)
    assert made.read(0, len(content)) == content
    assert made.read(PIECE - 5, 10) == content[PIECE - 5 : PIECE + 5]
    assert (tmp_path / "memory").stat().st_blocks * 512 < 4 * PIECE
    assert {number for start, end in made.extents() for number in range(start, end)} >= {0, 41}


def test_a_sealed_piece_that_was_altered_or_moved_is_none(tmp_path: Path) -> None:
    path = tmp_path / "memory"
    made: EncryptedFile = sealed(path, os.urandom(2 * PIECE))
    good, slot = path.read_bytes(), PIECE + 28
    for bad in (good[:100] + bytes([good[100] ^ 1]) + good[101:], good[slot:] + good[:slot]):
        path.write_bytes(bad)
        assert made.read(0, PIECE) == b""
    path.write_bytes(good)
    assert SealedFile.opened(os.open(path, os.O_RDONLY), 2 * PIECE, OTHER).read(0, PIECE) == b""
