"""Text that people write comes from every system: a byte order mark is nothing, another encoding has a name."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sevenlbd.base import text_files
from sevenlbd.base.errors import Refusal
from sevenlbd.config import sources
from sevenlbd.images import description
from sevenlbd.outside.site import site_tables

DESCRIBED = 'os = "linux"\r\nfirmware = "bios"\r\n'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_byte_order_mark_of_utf_8_is_skipped(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "image.toml").write_text(DESCRIBED, encoding=encoding)
    assert description.read(tmp_path / "image.toml").os == "linux"
    (tmp_path / "7lbd.toml").write_text('memory = "8G"\n[slurm]\npartition = "x" # ä\n', encoding=encoding)
    assert _site(tmp_path).slurm.partition == "x"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (DESCRIBED.encode("utf-16"), "UTF-16, .*save it again as UTF-8"),
        (DESCRIBED.encode("utf-16-le"), "UTF-16"),
        (DESCRIBED.encode("utf-16-be"), "UTF-16"),
        (DESCRIBED.encode("utf-32"), "UTF-32"),
        ('title = "x"\ntitle = "ä"'.encode("latin-1"), "not UTF-8 in line 2"),
    ],
)
def test_another_encoding_is_named_and_no_command_is_named_that_reads_the_same_file(
    tmp_path: Path, content: bytes, says: str
) -> None:
    for name, read in (("image.toml", description.read), ("7lbd.toml", lambda path: _site(path.parent))):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(Refusal, match=says) as caught:
            read(tmp_path / name)
        assert "7lbd config" not in caught.value.hint


def test_what_is_no_file_or_has_no_end_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "long").write_text("#" * 300_000)
    for name in ("pipe", "long"):
        with pytest.raises(ValueError, match="regular file|far too long"):
            text_files.read(tmp_path / name)


@given(st.binary(max_size=40))
def test_no_bytes_are_more_than_refused(content: bytes) -> None:
    with suppress(ValueError):
        assert not text_files.decoded(content).startswith("\ufeff") or content.startswith(b"\xef\xbb\xbf" * 2)


def _site(folder: Path) -> site_tables.Site:
    return site_tables.read(sources.look_around({"APPTAINER_CONTAINER": str(folder / "7lbd.sif")}))
