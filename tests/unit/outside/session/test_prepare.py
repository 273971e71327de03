"""What the checks before a session say to its user."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest
from conftest import MakeQcow2
from sevenlbd.config import sources
from sevenlbd.config.settings import Settings
from sevenlbd.outside.session.preflight import prepare


@pytest.mark.parametrize(("left", "says"), [(-3, "ended on"), (0, "ends today"), (10, "ends in 10 days"), (11, "")])
def test_an_evaluation_that_ends_soon_or_has_ended_is_warned_of(
    tmp_path: Path, make_qcow2: MakeQcow2, left: int, says: str
) -> None:
    make_qcow2(tmp_path / "disk.qcow2")
    last = date.today() + timedelta(days=left)
    (tmp_path / "image.toml").write_text(f'memory = "64M"\ncpus = 1\nevaluation_ends = {last}\n')
    here = sources.look_around({"HOME": str(tmp_path), "TMPDIR": str(tmp_path)})
    chosen = {"image": str(tmp_path), "accel": "tcg", "network": "user", "min_space": 0, "home_share": False}
    prepared = prepare.prepare(Settings.model_validate(chosen), here.environment, 0o077, [])
    warned = [text for text in prepared.warnings if "evaluation of Windows" in text]
    assert len(warned) == bool(says)
    assert all(says in text and str(last) in text for text in warned)
