"""A session in the background, before it begins."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from sevenlbd.base.errors import ExitCode, Refusal
from sevenlbd.config.settings import AtEnd, Settings
from sevenlbd.outside.node import host_memory
from sevenlbd.outside.node.host_memory import HostMemory
from sevenlbd.outside.session.preflight import giving_way
from sevenlbd.outside.session.preflight.remarks import Remarks

GIB = 1 << 30
BACKGROUND = Settings(background=True)


def test_where_others_would_lack_memory_it_does_not_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_memory, "look", lambda: HostMemory(5 * GIB))
    giving_way.check(BACKGROUND, 4 * GIB)
    giving_way.check(Settings(), 400 * GIB)
    with pytest.raises(Refusal, match=r"5\.0 GiB of memory that could be had.*5\.0 GiB, and 1\.0 GiB are left") as told:
        giving_way.check(BACKGROUND, 5 * GIB)
    assert told.value.code is ExitCode.BUSY
    giving_way.check(Settings(background=True, background_memory=0), 5 * GIB)
    monkeypatch.setattr(host_memory, "look", lambda: None)
    giving_way.check(BACKGROUND, 400 * GIB)


def test_none_begins_where_it_would_be_sent_away_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_memory, "look", lambda: HostMemory(50 * GIB, stalled=0.5))
    with pytest.raises(Refusal, match="waits for memory 50% of the time") as told:
        giving_way.check(BACKGROUND, 5 * GIB)
    assert told.value.code is ExitCode.BUSY
    giving_way.check(Settings(background=True, background_memory=0), 5 * GIB)


def test_what_is_told_is_what_will_be() -> None:
    assert giving_way.sentence(Settings()) == ""
    assert "shut down when the node has less than 1.0 GiB" in giving_way.sentence(BACKGROUND)
    assert "suspended when" in giving_way.sentence(Settings(background=True, at_end=AtEnd.SUSPEND))
    assert giving_way.sentence(Settings(background=True, background_memory=0)).endswith("on this node")


def test_the_disk_goes_past_the_cache_where_every_file_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layer, remarks = tmp_path / "disk.qcow2", Remarks()
    layer.write_bytes(b"x")
    assert not giving_way.is_direct(Settings(), tmp_path, [layer], remarks)
    assert giving_way.is_direct(BACKGROUND, tmp_path / "later" / "there", [layer], remarks)
    assert remarks.notes == []
    assert [path.name for path in tmp_path.iterdir()] == ["disk.qcow2"], "nothing is left of the trial"
    really = os.open
    refusing = OSError(22, "Invalid argument")

    def without(path: Path, flags: int, *rest: int) -> int:
        if flags & os.O_DIRECT and path == layer:
            raise refusing
        return really(path, flags, *rest)

    monkeypatch.setattr(os, "open", without)
    assert not giving_way.is_direct(BACKGROUND, tmp_path, [layer], remarks)
    assert remarks.notes == [f"the guest's disk is held in the node's cache: {layer} has no direct I/O"]
