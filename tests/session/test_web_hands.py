"""The pages in odd hands: keys alone, small screens, no JavaScript, and what axe-core finds wrong with each state."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import harness
import pytest
import web
from conftest import StartSession
from harness import Console, Session
from playwright.sync_api import Browser, Page
from web import NewVisitor, Visitor, log_in, until, wait_state

AXE = harness.REPO / "build/dev-web/node_modules/axe-core/axe.min.js"
PHONE = {"width": 390, "height": 844}
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def faults(page: Page) -> list[str]:
    """What axe-core finds in the page as it is, each with where."""
    page.evaluate(AXE.read_text())
    script = "(tags) => axe.run(document, { runOnly: { type: 'tag', values: tags } })"
    found: list[dict[str, Any]] = page.evaluate(script, RULES)["violations"]
    return [f"{each['id']}: {each['help']}: {[node['html'][:120] for node in each['nodes']]}" for each in found]


def active(page: Page) -> str:
    return str(page.evaluate("() => document.activeElement.id"))


def handle(page: Page) -> tuple[float, float]:
    box = page.locator("#menu-button").bounding_box()
    assert box
    return box["x"], box["x"] + box["width"]


@pytest.fixture(scope="module")
def visitor(chromium: Browser, demo: Session) -> Iterator[Visitor]:
    visitors = web.visitors(chromium, "hands")
    yield next(visitors)(web.url(demo))
    next(visitors, None)


@pytest.fixture(scope="module")
def phone(chromium: Browser, demo: Session) -> Iterator[Visitor]:
    visitors = web.visitors(chromium, "phone", has_touch=True, is_mobile=True)
    made = next(visitors)(web.url(demo))
    yield made
    next(visitors, None)


@pytest.fixture(scope="module")
def desktop(visitor: Visitor, demo: Session) -> Page:
    page = log_in(visitor, demo, to="desktop")
    wait_state(page, "connected")
    return page


def test_the_keyboard_gets_out_of_the_desktop_by_a_chord_that_is_shown(desktop: Page) -> None:
    assert "Ctrl-Alt-Home" in desktop.locator("#toast").inner_text()
    assert "Ctrl-Alt-Home" in (desktop.locator("#menu-button").get_attribute("title") or "")
    desktop.locator("#stage").focus()
    for _ in range(2):
        desktop.keyboard.press("Tab")
        assert active(desktop) == "stage", "the guest gets its Tab"
    desktop.keyboard.press("Control+Alt+Home")
    assert active(desktop) in ("full", "scale")
    assert desktop.locator("#toast").is_hidden(), "it lies over the menu"
    assert "brings this menu and your keyboard back" in desktop.locator("#menu").inner_text()
    web.shot(desktop, "web-menu.png")
    desktop.keyboard.press("Tab")
    assert desktop.evaluate("() => !document.querySelector('#menu').contains(document.activeElement)")
    desktop.keyboard.press("Control+Alt+Home")
    desktop.locator("#scale").focus()
    desktop.keyboard.press("Escape")
    assert active(desktop) == "stage"
    assert desktop.locator("#menu").is_hidden()


def test_the_arrows_go_through_the_toolbar_which_is_one_stop_of_the_tab_key(desktop: Page) -> None:
    desktop.locator("#stage").focus()
    desktop.keyboard.press("Control+Alt+Home")
    first = active(desktop)
    seen = [first]
    for _ in range(20):
        desktop.keyboard.press("ArrowRight")
        seen.append(desktop.evaluate("() => document.activeElement.id || document.activeElement.textContent"))
        if seen[-1] == first:
            break
    assert seen[-1] == first, "it goes round"
    assert {"scale", "cad", "meta", "keys", "reconnect", "Status page"} <= set(seen)
    desktop.keyboard.press("End")
    assert desktop.evaluate("() => document.activeElement.textContent") == "Status page"
    desktop.keyboard.press("ArrowLeft")
    assert active(desktop) == "reconnect"
    desktop.keyboard.press("Home")
    assert active(desktop) == first
    assert desktop.locator("#menu [tabindex='0']").count() == 1
    desktop.keyboard.press("Escape")


def test_the_menus_handle_is_moved_by_pointer_and_keys_and_stays_where_it_was_put(
    desktop: Page, visitor: Visitor, demo: Session
) -> None:
    before = handle(desktop)
    desktop.mouse.move(sum(before) / 2, 8)
    desktop.mouse.down()
    desktop.mouse.move(200, 300, steps=5)
    desktop.mouse.up()
    moved = handle(desktop)
    assert abs(sum(moved) / 2 - 200) < 3
    assert desktop.locator("#menu").is_hidden(), "a move is no press"
    desktop.locator("#menu-button").focus()
    desktop.keyboard.press("ArrowRight")
    assert handle(desktop)[0] > moved[0]
    desktop.keyboard.press("End")
    assert 1279 <= handle(desktop)[1] <= 1281
    again = visitor.open(web.url(demo) + "console")
    wait_state(again, "connected")
    assert handle(again)[1] >= 1279, "it is remembered"
    again.set_viewport_size({"width": 320, "height": 500})
    left, right = handle(again)
    assert left >= 0
    assert right <= 320, "in a small window it is in sight, too"
    again.click("#menu-button")
    assert again.locator("#menu").is_visible()
    again.close()
    desktop.keyboard.press("Home")
    desktop.mouse.move(5, 8)
    desktop.mouse.down()
    desktop.mouse.move(-400, 8, steps=3)
    desktop.mouse.up()
    assert handle(desktop)[0] >= 0


def test_a_phone_has_the_keys_that_its_own_keyboard_lacks(phone: Visitor, demo: Session) -> None:
    page = log_in(phone, demo, to="desktop")
    page.set_viewport_size({"width": PHONE["width"], "height": PHONE["height"]})
    wait_state(page, "connected")
    page.wait_for_timeout(2000)
    wait_state(page, "connected")
    page.tap("#menu-button")
    web.shot(page, "phone-menu.png")
    page.tap("#touch")
    bar = page.locator("#touch-bar")
    assert [each.inner_text() for each in bar.locator("button").all()] == ["Esc", "Tab", "Ctrl", "Alt", *"←↑↓→"]
    for each in bar.locator("button").all():
        box = each.bounding_box()
        assert box
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= PHONE["width"]
        assert box["height"] >= 44, "a finger finds it"
    web.shot(page, "phone-bar.png")
    ctrl = bar.locator("[data-code=ControlLeft]")
    ctrl.tap()
    assert ctrl.get_attribute("aria-pressed") == "true"
    bar.locator("[data-code=Tab]").tap()
    assert ctrl.get_attribute("aria-pressed") == "false", "it is for one key"
    assert not faults(page)
    page.close()


def test_a_phone_types_at_the_console(phone: Visitor, demo: Session, guest: Console) -> None:
    page = log_in(phone, demo, to="console")
    wait_state(page, "connected")
    page.tap("#menu-button")
    page.tap("#keys")
    assert active(page) == "typing"
    assert page.locator("#touch-bar").is_visible()
    try:
        page.keyboard.insert_text("Phone_7T|x")
        page.keyboard.press("Backspace")
        page.keyboard.insert_text("ab")
        page.tap("#touch-bar [data-code=ControlLeft]")
        page.keyboard.insert_text("h")  # a getty's backspace
        until("the name at the guest's prompt", lambda: "Phone_7T|a " in guest.run("sudo cat /dev/vcs1") + " ")
        assert not faults(page)
    finally:
        guest.run("sudo systemctl restart getty@tty1")
        page.close()


def test_without_javascript_every_page_says_so_and_what_works(chromium: Browser, demo: Session) -> None:
    visitors = web.visitors(chromium, "no-script", java_script_enabled=False)
    visitor = next(visitors)(web.url(demo))
    page = visitor.open(web.url(demo))
    assert "JavaScript is switched off" in page.locator("body").inner_text()
    page.fill("#token", web.token(demo))
    page.click("text=Log in >> nth=-1")
    for name in ("", "desktop", "console", "native"):
        page.goto(web.url(demo) + name)
        text = page.locator("body").inner_text()
        assert "switched off here" in text, name
        assert "7lbd connect" in text, name
        web.shot(page, f"no-script-{name or 'status'}.png")
    page.goto(web.url(demo) + "native")
    assert page.locator("button:visible").count() == 0, "they do nothing"
    with page.expect_download() as download:
        page.click("noscript a")
    assert "full address:s:" in download.value.path().read_text(encoding="utf-8-sig")
    next(visitors, None)


def test_axe_finds_nothing_on_any_page_in_any_state(
    desktop: Page,
    visitor: Visitor,
    new_visitor: NewVisitor,
    demo: Session,
    start: StartSession,
    blank_image: Path,
    base: Path,
) -> None:
    found: dict[str, list[str]] = {}

    def look(page: Page, name: str) -> None:
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            if wrong := faults(page):
                found[f"{name}, {scheme}"] = wrong

    stranger = new_visitor(web.url(demo)).open(web.url(demo))
    look(stranger, "login")
    stranger.fill("#token", "wrong")
    stranger.keyboard.press("Enter")
    wait_state(stranger, "refused")
    look(stranger, "login, refused")
    look(desktop, "desktop")
    desktop.locator("#stage").focus()
    desktop.keyboard.press("Control+Alt+Home")
    look(desktop, "desktop, menu")
    desktop.keyboard.press("Escape")
    second = visitor.open(web.url(demo) + "desktop")
    wait_state(second, "connected")
    wait_state(desktop, "taken")
    look(desktop, "desktop, taken")
    second.close()
    page = visitor.open(web.url(demo))
    until("the status", lambda: page.locator("body").get_attribute("data-link") == "live", page=page)
    look(page, "status, ready")
    page.click("#stop")
    look(page, "status, stop?")
    page.goto(web.url(demo) + "native")
    until("the password's place", lambda: page.locator("#account").inner_text() != "…", page=page)
    look(page, "native")
    page.goto(web.url(demo) + "console")
    wait_state(page, "connected")
    page.click("#menu-button")
    look(page, "console, menu")
    page.close()
    session = start("--image", str(blank_image))
    page = log_in(new_visitor(web.url(session)), session)
    until("booting", lambda: page.locator("body").get_attribute("data-phase") == "booting", page=page)
    look(page, "status, booting")
    waiting = page.context.new_page()
    waiting.goto(web.url(session) + "desktop")
    wait_state(waiting, "waiting")
    look(waiting, "desktop, waiting")
    session.send(signal.SIGKILL)
    until("the lost line", lambda: page.locator("body").get_attribute("data-link") == "lost", page=page)
    look(page, "status, lost")
    session.wait_end()
    harness.run("gc", "--session-dir", str(base))
    assert not found, json.dumps(found, indent=1)
