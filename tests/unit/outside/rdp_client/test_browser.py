"""A desktop is what is lit and at rest: no black screen, nothing that turns, whatever a cursor does."""

from __future__ import annotations

import time

import pytest
from sevenlbd.outside.rdp_client.browser import Canvas, ImageData

WIDTH, HEIGHT = 200, 100
GREY, BLACK = b"\x80\x80\x80\xff", b"\x00\x00\x00\xff"


def filled(colour: bytes, width: int = WIDTH, height: int = HEIGHT) -> ImageData:
    return ImageData(colour * (width * height), width)


@pytest.fixture
def canvas() -> Canvas:
    return Canvas(WIDTH, HEIGHT)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock, as a list of one."""
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    return clock


def test_black_is_no_desktop_nor_is_a_line_of_text_on_it(canvas: Canvas) -> None:
    canvas.context.put(filled(BLACK), 0, 0)
    assert not canvas.is_lit
    canvas.context.put(filled(GREY, 60, 1), 5, 5)
    assert not canvas.is_lit
    canvas.context.put(filled(GREY), 0, 0)
    assert canvas.is_lit


def test_a_part_of_an_image_goes_where_it_belongs_and_no_further(canvas: Canvas) -> None:
    canvas.context.put(filled(GREY), 190, 95, 5, 2, 100, 100)
    lit = [place for place in range(WIDTH * HEIGHT) if canvas.pixels[place * 4]]
    assert lit == [row * WIDTH + column for row in range(97, 100) for column in range(195, 200)]


def test_a_desktop_rests_when_nothing_large_changed(canvas: Canvas, now: list[float]) -> None:
    canvas.context.put(filled(GREY), 0, 0)
    now[0] += 1
    assert not canvas.context.is_quiet(3)
    now[0] += 3
    assert canvas.context.is_quiet(3)
    assert canvas.context.last_large() == 100.0


def test_what_is_drawn_again_as_it_was_is_no_change(canvas: Canvas, now: list[float]) -> None:
    canvas.context.put(filled(GREY), 0, 0)
    now[0] += 10
    canvas.context.put(filled(GREY), 0, 0)
    assert canvas.context.is_quiet(3)


@pytest.mark.parametrize(("every", "rests"), [(0.5, True), (0.04, False)], ids=["cursor", "spinner"])
def test_a_blinking_cursor_is_rest_and_a_spinner_is_none(
    canvas: Canvas, now: list[float], every: float, *, rests: bool
) -> None:
    canvas.context.put(filled(BLACK), 0, 0)
    for step in range(int(5 / every)):
        now[0] += every
        canvas.context.put(filled((BLACK, GREY)[step % 2], 2, 8), 10, 10)
    assert canvas.context.is_quiet(3) is rests
