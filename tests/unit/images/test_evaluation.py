"""An evaluation of Windows ends on a day that its image knows, and that is told in time."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from sevenlbd.base.errors import Refusal
from sevenlbd.images import description, evaluation
from sevenlbd.images.description import Description

LAST = date(2027, 2, 24)


def test_a_client_has_90_days_and_a_server_180() -> None:
    installed = date(2026, 11, 26)
    assert evaluation.ends(installed, server=False) == LAST
    assert evaluation.ends(installed, server=True) == date(2027, 5, 25)


@pytest.mark.parametrize(
    ("today", "says"),
    [
        (date(2026, 11, 26), "ends in 90 days, on 2027-02-24; then Windows shuts down every hour"),
        (date(2027, 2, 23), "ends tomorrow, on 2027-02-24; then Windows shuts down every hour"),
        (date(2027, 2, 24), "ends today, on 2027-02-24; then Windows shuts down every hour"),
        (date(2027, 2, 25), "ended on 2027-02-24: Windows shuts down every hour"),
    ],
)
def test_the_day_is_told_with_what_it_means(today: date, says: str) -> None:
    assert evaluation.told(LAST, today) == says


def test_users_are_told_ten_days_before_and_from_then_on() -> None:
    assert evaluation.warning(LAST, date(2027, 2, 13)) == ""
    assert "evaluation of Windows that ends in 10 days" in evaluation.warning(LAST, date(2027, 2, 14))
    assert "evaluation of Windows that ended on" in evaluation.warning(LAST, date(2027, 3, 1))


@pytest.mark.parametrize("written", ['"2027-02-24"', "2027-02-24"])
def test_an_image_says_the_day_as_a_text_or_as_toml_has_days(tmp_path: Path, written: str) -> None:
    path = tmp_path / "image.toml"
    path.write_text(f"evaluation_ends = {written}\n")
    read = description.read(path)
    assert read.last_day == LAST
    path.write_text(description.text(read))
    assert description.read(path) == read
    assert Description().last_day is None


@pytest.mark.parametrize("written", ['"soon"', '"2027-02-30"', '"20270224"', "2027-02-24T10:00:00Z", "90", "true"])
def test_what_is_no_day_is_refused_by_the_keys_name(tmp_path: Path, written: str) -> None:
    path = tmp_path / "image.toml"
    path.write_text(f"evaluation_ends = {written}\n")
    with pytest.raises(Refusal, match="`evaluation_ends`"):
        description.read(path)
