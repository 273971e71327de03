"""What a guest makes in an acceptance's share is its own affair: nothing of the node's is read or removed by it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from sevenlbd.base import process
from sevenlbd.outside.acceptance.criteria.evidence import SessionRecord
from sevenlbd.outside.acceptance.examined_session import ExaminedSession
from sevenlbd.outside.acceptance.share_files import ShareFiles, digest_of, laid_out


def test_a_file_of_the_size_that_was_sent_is_read_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "accept-up.bin"
    assert digest_of(path, 5) == ""
    path.write_bytes(b"hello")
    assert digest_of(path, 5) == hashlib.sha256(b"hello").hexdigest()
    os.truncate(path, 1 << 40)
    assert digest_of(path, 5) == ""


def test_no_link_of_the_guests_is_followed_and_no_pipe_waited_for(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"hello")
    (tmp_path / "accept-up.bin").symlink_to(secret)
    assert digest_of(tmp_path / "accept-up.bin", 5) == ""
    os.mkfifo(tmp_path / "accept-pipe")
    assert digest_of(tmp_path / "accept-pipe", 5) == ""


def test_all_is_gone_in_the_end_and_nothing_that_a_link_leads_to(tmp_path: Path) -> None:
    share, other = tmp_path / "share", tmp_path / "other"
    for folder in (share, other):
        folder.mkdir()
    (other / "kept").write_text("kept")
    with laid_out(share, 1, windows=True) as digest:
        down = share / "accept-down.bin"
        assert digest == hashlib.sha256(down.read_bytes()).hexdigest()
        assert b"$share = 'home'" in (share / "accept-user.ps1").read_bytes()
        (share / "accept-folder").symlink_to(other)
        (share / "accept-deep" / "er").mkdir(parents=True)
    assert list(share.iterdir()) == []
    assert (other / "kept").read_text() == "kept"


@pytest.mark.parametrize("name", ["accept-down.bin", "accept-user.ps1"])
def test_what_the_guest_put_there_first_is_not_written_through(tmp_path: Path, name: str) -> None:
    (tmp_path / "target").write_text("")
    share = tmp_path / "share"
    share.mkdir()
    (share / name).symlink_to(tmp_path / "target")
    with pytest.raises(FileExistsError), laid_out(share, 1, windows=True):
        pass
    assert (tmp_path / "target").read_text() == ""


def test_a_share_that_cannot_be_used_is_told_as_that(tmp_path: Path) -> None:
    record = SessionRecord(warm=False)
    with process.piped(["/usr/bin/true"]) as running:
        session = ExaminedSession(tmp_path / "s", tmp_path / "is-not-there", windows=False, quick=True, running=running)
        ShareFiles().gather(session, record)
    assert record.facts["files"].failure == "the share cannot be used: No such file or directory"
