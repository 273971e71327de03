"""The files that both sides touch: those of the list in docs/theory.md, made plain, private and empty."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from sevenlbd.wire import shared_files
from test_qemu import PLAN

THEORY = Path(__file__).parents[3] / "docs" / "theory.md"


def test_theory_lists_each_and_the_disk() -> None:
    table = THEORY.read_text().partition("## Files that both sides touch")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.+?) \| inside", table, re.MULTILINE)
    listed = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    all_of_them = {str(name) for name in shared_files.of(replace(PLAN, freeze=True))}
    assert listed == all_of_them | {"overlay.qcow2"}
    assert set(shared_files.of(PLAN)) < set(shared_files.of(replace(PLAN, freeze=True)))


def test_they_are_made_once_and_never_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    shared_files.make(tmp_path, PLAN)
    made = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(made) == len(shared_files.of(PLAN))
    assert all(path.stat().st_size == 0 and path.stat().st_mode & 0o777 == 0o600 for path in made)
    (tmp_path / "console.png").unlink()
    (tmp_path / "console.png").symlink_to(tmp_path / "precious")
    with pytest.raises(FileExistsError):
        shared_files.make(tmp_path, PLAN)
    assert not (tmp_path / "precious").exists()
