"""Unit tests run with the appliance's own Python, without a VM."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# What a run finds depends on the tree alone. To look for what nobody has found yet:
# scripts/test unit --hypothesis-profile=search -k fuzz
settings.register_profile("same", derandomize=True, deadline=None, database=None)
settings.register_profile("search", deadline=None, database=None, max_examples=3000, print_blob=True)
settings.load_profile("same")

MakeQcow2 = Callable[..., Path]


@pytest.fixture(autouse=True)
def _own_umask() -> Iterator[None]:
    """The program sets its own at its start: a test that runs it must not hand that on to the next one."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture
def make_qcow2(tmp_path: Path) -> MakeQcow2:
    """Writes a small qcow2 by hand (docs/interop/qcow2.rst), whole unless told otherwise."""

    def make(
        path: Path | None = None,
        *,
        backing: str = "",
        backing_format: str = "",
        version: int = 3,
        encryption: int = 0,
        incompatible: int = 0,
        cut: int = 0,
    ) -> Path:
        path = path or tmp_path / "disk.qcow2"
        cluster = 1 << 16
        extension = b""
        if backing_format:
            padded = backing_format.encode().ljust((len(backing_format) + 7) // 8 * 8, b"\0")
            extension = struct.pack(">II", 0xE2792ACA, len(backing_format)) + padded
        name_at = 104 + len(extension) + 8 if backing else 0
        header = struct.pack(
            ">4sIQIIQIIQQIIQQQQII",
            b"QFI\xfb",
            version,
            name_at,
            len(backing.encode()),
            16,
            1 << 30,
            encryption,
            2,
            3 * cluster,
            cluster,
            1,
            0,
            0,
            incompatible,
            0,
            0,
            4,
            104,
        )
        first = (header + extension + b"\0" * 8 + backing.encode()).ljust(cluster, b"\0")
        refcount_table = struct.pack(">Q", 2 * cluster).ljust(cluster, b"\0")
        refcounts = struct.pack(">4H", 1, 1, 1, 1).ljust(cluster, b"\0")
        whole = first + refcount_table + refcounts + b"\0" * cluster
        path.write_bytes(whole[: len(whole) - cut])
        return path

    return make


@pytest.fixture
def state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder of states, in a home of the test's own."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.delenv("APPTAINER_CONTAINER", raising=False)
    return tmp_path / ".local" / "state" / "7lbd"
