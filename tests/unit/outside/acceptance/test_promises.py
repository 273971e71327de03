"""What the docs leave to a real Windows is what `image accept` asks one: each line there names its checks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sevenlbd.outside.acceptance.criteria.every import ALL

PAGE = Path(__file__).parents[4] / "docs" / "windows.md"
GROUPS = {criterion.group for criterion in ALL}
CHECK = re.compile(rf"`((?:{'|'.join(sorted(GROUPS))})\.[a-z_]+)`")
OF_WINDOWS = {criterion.name for criterion in ALL if "windows" in criterion.systems}


def left_to_windows() -> list[str]:
    """Each item of the section's list, its lines made one."""
    _, section = PAGE.read_text().split("## What only a real Windows can show\n")
    return [re.sub(r"\s+", " ", item) for item in re.findall(r"^- ((?:.+\n)(?:  .+\n)*)", section, re.MULTILINE)]


def test_the_list_is_there() -> None:
    assert len(left_to_windows()) >= 11


@pytest.mark.parametrize("item", left_to_windows(), ids=lambda item: item[:40])
def test_each_line_names_the_checks_that_answer_it(item: str) -> None:
    named = set(CHECK.findall(item))
    assert named, "no check of `image accept` is named"
    assert named <= OF_WINDOWS, f"there is no such check: {named - OF_WINDOWS}"
