"""The child of an image: what is known of it, one at a time, and what is left of half a one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sevenlbd.base import heartbeat
from sevenlbd.base.errors import Refusal
from sevenlbd.images import layout
from sevenlbd.images.repository import maintenance
from sevenlbd.images.repository.maintenance import Maintenance, MaintenanceRecord


@pytest.fixture
def kept(tmp_path: Path) -> Maintenance:
    home = tmp_path / "win"
    home.mkdir()
    return Maintenance(home)


def test_it_knows_its_base_until_it_is_discarded(kept: Maintenance) -> None:
    assert kept.record() is None
    assert maintenance.base_of(kept.home) == ""
    kept.begin("2026.11")
    kept.note(MaintenanceRecord("2026.11", 5.0, clean=False))
    assert kept.record() == MaintenanceRecord("2026.11", 5.0, clean=False)
    assert maintenance.base_of(kept.home) == "2026.11"
    kept.discard()
    kept.discard()
    assert not list(kept.home.iterdir())


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "null", "7", '{"base": "1"}', '{"base": "../../etc", "since": 1, "clean": true}',
        '{"base": 7, "since": 1, "clean": true}', '{"base": "1", "since": "soon", "clean": true}', "[" * 4000,
    ],
)  # fmt: skip
def test_a_record_that_makes_no_sense_is_refused_with_the_way_out(kept: Maintenance, text: str) -> None:
    kept.folder.mkdir()
    (kept.folder / layout.MAINTENANCE_RECORD).write_text(text)
    with pytest.raises(Refusal) as refused:
        kept.record()
    assert "--discard" in refused.value.hint
    assert maintenance.base_of(kept.home) == ""


def test_only_the_word_true_is_clean(kept: Maintenance) -> None:
    kept.begin("1")
    (kept.folder / layout.MAINTENANCE_RECORD).write_text(json.dumps({"base": "1", "since": 1, "clean": "yes"}))
    record = kept.record()
    assert record
    assert not record.clean


def test_one_at_a_time_and_the_other_is_told_who(kept: Maintenance) -> None:
    with kept.held():
        with pytest.raises(Refusal) as refused, kept.held():
            pass
        assert heartbeat.user_name() in refused.value.what
    with kept.held():
        pass


def test_what_a_discard_left_half_done_goes_with_the_next(kept: Maintenance) -> None:
    (kept.home / ".maintain-gone-123").mkdir()
    kept.discard()
    assert not list(kept.home.iterdir())
