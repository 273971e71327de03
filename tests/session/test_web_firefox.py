"""The main ways through the pages in Firefox: in by the link, the desktop, a silent line, the mouse's back, closing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import web
from firefox import Firefox, firefox
from harness import KEPT, Session
from lines import Line

CONNECTED = "document.body.dataset.state === 'connected'"
# Of a picture that has come, most points are lit; a canvas begins black.
LIT = """(() => {
    const canvas = document.querySelector('#stage canvas');
    const points = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
    let lit = 0;
    for (let at = 0; at < points.length; at += 4) lit += points[at] + points[at + 1] + points[at + 2] > 0 ? 1 : 0;
    return lit * 4 > points.length / 2;
})()"""


@pytest.fixture(scope="module")
def line(demo: Session) -> Iterator[Line]:
    made = Line(demo)
    yield made
    made.close()


@pytest.fixture(scope="module")
def browser(demo: Session, line: Line, work: Path) -> Iterator[Firefox]:
    """Firefox, which has the desktop open."""
    with firefox(work / "browser") as browser:
        browser.open(f"{line.address}#token={web.token(demo)}")
        browser.until("document.body.dataset.page === 'status' && document.body.dataset.link === 'live'")
        assert browser.evaluate("location.hash") == ""
        browser.open(f"{line.address}desktop")
        browser.until(CONNECTED)
        yield browser


def test_firefox_shows_the_desktop(browser: Firefox) -> None:
    browser.until("document.querySelector('#stage canvas').width >= 640")
    browser.until(LIT)
    assert browser.evaluate("document.querySelector('#veil').hidden") is True
    browser.shot(KEPT / "firefox-desktop.png")


def test_in_firefox_the_mouses_back_stays_in_the_page(browser: Firefox, line: Line) -> None:
    for button in (3, 4):
        browser.click(400, 300, button)
    browser.until(f"location.href === '{line.address}desktop' && {CONNECTED}")


def test_firefox_asks_before_a_tab_with_a_desktop_is_left(browser: Firefox, line: Line) -> None:
    browser.click(400, 300)
    assert browser.asks_before_it_leaves(f"{line.address}native")
    assert browser.evaluate(CONNECTED) is True


def test_firefox_says_that_a_line_is_silent_and_comes_back_by_itself(browser: Firefox, line: Line) -> None:
    line.silence()
    try:
        browser.until("document.body.dataset.line === 'silent'")
        assert browser.evaluate("document.querySelector('#silence').hidden") is False
        browser.shot(KEPT / "firefox-silent.png")
    finally:
        line.speak()
    browser.until(f"document.body.dataset.line === 'live' && {CONNECTED}")
