"""ClassAds: what is a literal is read, what is written is never an expression."""

from __future__ import annotations

import pytest
from sevenlbd.outside.schedulers import classad


def test_literals_are_read_and_expressions_passed_over() -> None:
    ad = classad.parse(
        'A = 1\nb = -2.5\nC = "x \\"y\\" \\\\ z"\nD = TRUE\nE = 10 * 60\nF = undefined\n'
        'G = "a" + "b"\nH = {1, 2}\nbad line\n'
    )
    assert ad == {"a": 1, "b": -2.5, "c": 'x "y" \\ z', "d": True}


@pytest.mark.parametrize("value", ["", "a", 'a" || true', "\\", '\\"', "$(id)", "é", 7, 1.5, True, False])
def test_what_is_written_is_read_as_it_was(value: classad.Value) -> None:
    assert classad.parse(f"X = {classad.written(value)}") == {"x": value}


@pytest.mark.parametrize("value", ["a\nB = 1", "\0", "\x1b[2J", "\u2028"])
def test_what_would_be_a_line_of_its_own_is_not_written(value: str) -> None:
    with pytest.raises(ValueError, match="is not one printable line"):
        classad.written(value)
