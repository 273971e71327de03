"""What each page says in each phase: what is true, in words for a user. The status is told in the session's stead."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import harness
import pytest
import web
from harness import Session
from playwright.sync_api import Browser, Page, Route
from web import Visitor, log_in, until

PAGES = {"": "#headline", "native": "#not-ready", "desktop": "#veil-title", "console": "#veil-title"}
"""By its address, where a page says how it is."""
NOT_YET = "The desktop is not ready yet"
MACHINE = "The machine is not running yet"
LEADS_NOWHERE = "What is below leads nowhere any more."
# Phase: status page, page for native clients, desktop, console. None is a picture, which other tests look at.
WORDS: dict[str, tuple[str | None, ...]] = {
    "preparing": ("Getting things ready", "The machine is being prepared.", NOT_YET, MACHINE),
    "booting": ("The guest is booting", "The desktop is starting.", NOT_YET, None),
    "guest-up": ("Almost there", "The desktop is almost ready.", NOT_YET, None),
    "ready": ("Your desktop is ready", "", None, None),
    "suspending": (
        "The desktop is being suspended",
        "The desktop is being suspended: it stands still, and clients are cut off.",
        "The desktop is being suspended",
        None,
    ),
    "stopping": (
        "The desktop is shutting down",
        "The desktop is shutting down. No client gets through any more.",
        "The desktop is shutting down",
        None,
    ),
    "ended": ("The session has ended", f"The session has ended. {LEADS_NOWHERE}", *["The session has ended"] * 2),
    "failed": ("The session failed", f"The session failed. {LEADS_NOWHERE}", *["The session failed"] * 2),
    "suspended": (
        "The desktop is suspended",
        "The desktop is suspended. It goes on by a session of its own",
        *["The desktop is suspended"] * 2,
    ),
}
GOING = {"suspending": "a file from which it goes on later", "stopping": "saves what it has to and switches itself off"}
FINAL = ("ended", "failed", "suspended")
KILLED = "QEMU ended with signal 9"
TITLE = "Windows 11, with the tools of the lab"
# What a notice lies over: the menu, or the other notice; with that of a silent line, or as it is.
OVERLAPS = """(silent) => {
    const [silence, minutes, ...menu] = ["#silence", "#last-minutes", "#menu", "#menu-button"].map((name) =>
        document.querySelector(name));
    const before = silence.hidden;
    if (silent) silence.hidden = false;
    const over = (one, other) => {
        const [a, b] = [one.getBoundingClientRect(), other.getBoundingClientRect()];
        return a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
    };
    const pairs = [[silence, minutes], ...menu.flatMap((part) => [[silence, part], [minutes, part]])];
    const found = pairs.filter(([one, other]) => over(one, other)).map(([one, other]) => `${one.id} ${other.id}`);
    if (minutes.hidden || menu[0].hidden) found.push("not in sight");
    silence.hidden = before;
    return found;
}"""


@pytest.fixture(scope="module")
def session(work: Path, blank_image: Path) -> Iterator[Session]:
    started = harness.start("--image", str(blank_image), "--ready-timeout", "600", base=work / "words")
    try:
        started.wait_phase("booting")
        yield started
    finally:
        started.kill()


@pytest.fixture(scope="module")
def visitor(chromium: Browser, session: Session) -> Iterator[Visitor]:
    visitors = web.visitors(chromium, "words")
    made = next(visitors)(web.url(session))
    log_in(made, session).close()
    yield made
    next(visitors, None)


def status(phase: str, **more: Any) -> dict[str, Any]:
    now = time.time()
    return {
        "id": "s",
        "user": "ann",
        "host": "node7",
        "image": "win11@7",
        "title": TITLE,
        "accel": "kvm",
        "network": "tap",
        "phase": phase,
        "phases": {phase: 1.0},
        "milestones": {"rdp": 1.0},
        "warnings": [],
        "ways_out": [],
        "paused": "",
        "reason": "",
        "hint": "",
        "started": now - 60,
        "now": now,
        "ends_at": 0.0,
        "certificate": "",
        "role": "desktop",
        "console": True,
        "clipboard": True,
        "screen": "",
        "viewer": "",
        "late_inputs": 0,
        "native": {"ssh": "ssh -L 1:x node7", "local_port": 1, "tls": None},
        **more,
    }


@contextmanager
def shown(visitor: Visitor, session: Session, path: str, told: Callable[[], dict[str, Any]]) -> Iterator[Page]:
    """The page at `path`, which is told that for the session's status."""
    page = visitor.context.new_page()
    page.route("**/api/status", lambda route: answer(route, told()))
    page.goto(web.url(session) + path)
    try:
        yield page
    finally:
        page.close()


def answer(route: Route, told: dict[str, Any]) -> None:
    """As the gateway does, of whom it is asked in either way."""
    text = json.dumps(told)
    if "event-stream" in route.request.headers.get("accept", ""):
        route.fulfill(content_type="text/event-stream", body=f"event: status\ndata: {text}\n\n")
    else:
        route.fulfill(content_type="application/json", body=text)


def says(page: Page, where: str, words: str) -> None:
    """Once the page knows its status, that is what stands there, or at least what it begins with."""
    page.wait_for_selector("body[data-phase]:not([data-phase='']), body[data-state]:not([data-state=loading])")
    line = page.locator(where)
    until(f"{words} on {page.url}", lambda: (line.text_content() or "").strip().startswith(words), page=page)


@pytest.mark.parametrize("phase", WORDS)
def test_every_page_says_what_is_true_in_each_phase(visitor: Visitor, session: Session, phase: str) -> None:
    reason = KILLED if phase == "failed" else "it was stopped from its page"
    for (path, where), words in zip(PAGES.items(), WORDS[phase], strict=True):
        if words is None:
            continue
        with shown(visitor, session, path, lambda: status(phase, reason=reason)) as page:
            says(page, where, words)
            everything = page.locator("body").inner_text()
            if phase in FINAL:
                assert "not ready yet" not in everything
                if path in ("desktop", "console"):
                    assert page.locator("#veil a:visible, #veil button:visible").count() == 0, "they lead nowhere"
                    assert reason.removeprefix("it ") in everything
            if path in ("", "native"):
                assert TITLE in everything
            if path in ("", "desktop"):
                assert GOING.get(phase, "") in everything


def test_the_time_that_is_left_stands_in_titles_and_is_announced_twice(visitor: Visitor, session: Session) -> None:
    for path in PAGES:
        with shown(visitor, session, path, lambda: status("booting", ends_at=time.time() + 3000)) as page:
            until("the title", lambda: "50 min left" in page.title(), page=page)
    left = [400.0]
    with shown(visitor, session, "console", lambda: status("booting", ends_at=time.time() + left[0])) as page:
        page.wait_for_selector("body[data-state=connected]")
        assert page.locator("#last-minutes").is_hidden()
        for seconds, words in ((290, "in 5 minutes"), (50, "within a minute")):
            left[0] = seconds
            page.locator("#last-minutes", has_text=words).wait_for()
            web.shot(page, f"web-last-minutes-{seconds}.png")
        page.locator("#menu-button").click()
        assert page.evaluate(OVERLAPS, False) == []
        assert page.evaluate(OVERLAPS, True) == []


@pytest.mark.parametrize("path", PAGES)
def test_a_session_that_never_answers_is_no_lost_line(visitor: Visitor, session: Session, path: str) -> None:
    """The browser may have kept the page longer than there was a session."""
    page = visitor.context.new_page()
    page.route("**/api/status", lambda _: None)
    page.goto(web.url(session) + path)
    where = PAGES[path] if path in ("desktop", "console") else "#link"
    page.locator(where, has_text="The session has not answered yet").wait_for()
    assert "The session goes on" not in page.locator("body").inner_text()
    assert page.locator("#silence").count() == 0 or page.locator("#silence").is_hidden()
    web.shot(page, f"web-unheard-{path or 'status'}.png")
    page.close()


@pytest.mark.parametrize("kind", ["stop", "suspend"])
def test_what_is_pressed_on_a_silent_line_is_not_sent(visitor: Visitor, session: Session, kind: str) -> None:
    asked: list[str] = []
    with shown(visitor, session, "", lambda: status("ready")) as page:
        says(page, "#headline", "Your desktop is ready")
        # Over the first one: in between, the session itself would be asked, which says something else.
        page.route("**/api/status", lambda _: None)
        page.on("request", lambda request: asked.append(request.url))
        page.locator("#link", has_text="The line is silent").wait_for()
        page.click(f"#{kind}")
        if kind == "stop":
            page.click("#stop-dialog button[value=stop]")
        page.locator("#hint", has_text="did not get through: the line to the session is silent").wait_for()
        assert not any(kind in address for address in asked)
        page.route("**/api/status", lambda route: answer(route, status("ready")))
        page.locator("#link", has_text="The line is silent").wait_for(state="hidden")
        assert "did not get through" in page.locator("#hint").inner_text(), "the session's next word wiped it away"


def test_a_page_of_another_version_asks_for_itself_once(visitor: Visitor, session: Session) -> None:
    asked: list[str] = []
    with shown(visitor, session, "desktop", lambda: status("booting", pages="another")) as page:
        page.on("request", lambda request: asked.append(request.url) if request.is_navigation_request() else None)
        says(page, "#veil-title", NOT_YET)
        until("the reload", lambda: asked or reloaded(page), page=page)
        says(page, "#veil-title", NOT_YET)
        page.wait_for_timeout(1000)
        assert len(asked) <= 1, "round and round"


def reloaded(page: Page) -> bool:
    return bool(page.evaluate("() => performance.getEntriesByType('navigation')[0].type === 'reload'"))
