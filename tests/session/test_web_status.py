"""The status and console pages in a real browser: from a session's first second to how it ended."""

from __future__ import annotations

import io
import itertools
import json
import os
import re
import signal
import time
from pathlib import Path
from typing import Any, Literal

import harness
import pytest
import web
import wire
from conftest import StartSession
from harness import PATIENCE, Console, Session
from lines import Line
from PIL import Image
from playwright.sync_api import Locator, Page
from web import NewVisitor, Visitor, log_in, until, wait_state


def body(page: Page, name: str) -> str:
    return page.locator("body").get_attribute(f"data-{name}") or ""


def wait_phase(page: Page, phase: str, seconds: float = PATIENCE) -> None:
    until(f"phase {phase} on the page", lambda: body(page, "phase") == phase, seconds, page)


def end(session: Session) -> None:
    session.send(signal.SIGTERM)
    session.wait_end()


def reached(page: Page) -> dict[str, float]:
    """The phases that the page shows as behind us, and when they ended."""
    rows = page.locator("#phases li[data-reached]").all()
    return {row.get_attribute("data-name") or "": float(row.get_attribute("data-reached") or -1) for row in rows}


# A browser without a screen takes all of its tabs for looked at.
_LOOKED_AT = (
    "window.seen = 'visible'; Object.defineProperty(document, 'visibilityState', { get: () => window.seen });"
    " window.look = (seen) => { window.seen = seen; document.dispatchEvent(new Event('visibilitychange')); };"
)


def test_the_page_follows_a_session_from_its_first_second_to_the_desktop(work: Path, new_visitor: NewVisitor) -> None:
    base = work / "whole"
    asked = ("--image", str(harness.DEMO), "--no-warm", "--for", "40m", "--ready-timeout", "600")
    session = harness.start(*asked, base=base)
    try:
        visitor = new_visitor(web.url(session))
        page = log_in(visitor, session)
        seen = [until("a phase", lambda: body(page, "phase"), page=page)]
        assert seen[0] in ("preparing", "booting"), "the page came late"
        page.wait_for_selector("#to-desktop:not([href])")
        wait_phase(page, "booting")
        page.wait_for_selector("#to-console[href]")
        assert page.locator("#to-desktop").get_attribute("aria-disabled") == "true"
        other = new_visitor(web.url(session))
        other.context.add_init_script(_LOOKED_AT)
        waiting = log_in(other, session)
        wait_phase(waiting, "booting")
        waiting.evaluate("() => look('hidden')")
        thumbnail = page.locator("#screen canvas")
        thumbnail.wait_for()
        until("the boot in the small picture", lambda: ink(page, "#screen") > 30, page=page)
        assert re.search(r"3\d min", page.locator("#left").inner_text())
        assert page.locator("#hurry").is_hidden()
        deadline = time.monotonic() + 600
        while body(page, "page") == "status" and time.monotonic() < deadline:
            if (phase := body(page, "phase")) not in ("", seen[-1]):
                seen.append(phase)
            page.wait_for_timeout(200)
        assert [phase for phase in seen if phase != "preparing"][:2] == ["booting", "guest-up"]
        # Who watched it start is taken to the desktop.
        page.wait_for_selector("body[data-page=desktop]")
        wait_state(page, "connected")
        with waiting.expect_response(lambda answer: answer.url.endswith("api/status")):
            pass
        page.goto(web.url(session))
        wait_phase(page, "ready")
        # Who comes back to such a page when the desktop has been used is not.
        waiting.evaluate("() => look('visible')")
        wait_phase(waiting, "ready")
        waiting.wait_for_timeout(2000)
        assert body(waiting, "page") == "status"
        told = session.wait_phase("ready")["phases"]
        shown = reached(page)
        assert [shown["preparing"], shown["booting"], shown["guest-up"]] == pytest.approx(
            [told["booting"], told["guest-up"], told["ready"]], abs=0.2
        )
        assert page.locator("#to-desktop").get_attribute("href") == "desktop"
        assert page.locator("#picture").is_hidden()
        stop_by_button(page, session)
        assert session.wait_end() == 0
    finally:
        session.kill()


def log_out(page: Page) -> Locator:
    return page.get_by_role("button", name="Log out")


def stop_by_button(page: Page, session: Session) -> None:
    """Asked first, then done; the page shows the end."""
    page.click("#stop")
    page.click("#stop-dialog button[value=keep]")
    page.wait_for_timeout(1500)
    assert body(page, "phase") == "ready", "it was told to keep it"
    page.click("#stop")
    page.click("#stop-dialog button[value=stop]")
    wait_phase(page, "stopping")
    wait_phase(page, "ended")
    assert "stopped from its page" in page.locator("#lede").inner_text().lower()
    assert page.locator("#link").is_hidden(), "an end is no lost connection"
    assert page.locator("#ending").is_hidden()


def ink(page: Page, selector: str = "#stage") -> int:
    """How many pixels of the guest's screen are not black; the menu's handle lies over its upper edge."""
    picture = Image.open(io.BytesIO(page.locator(f"{selector} canvas").first.screenshot())).convert("L")
    below = picture.crop((2, 30, picture.width - 2, picture.height - 2))
    return sum(below.point(lambda light: light > 40).histogram()[1:])


def test_a_guest_that_never_gets_ready_is_told_with_reason_and_hint_before_the_page_goes(
    start: StartSession, blank_image: Path, new_visitor: NewVisitor
) -> None:
    # Long enough for both pages to have heard of the session on a machine that has little time for a browser.
    session = start("--image", str(blank_image), "--ready-timeout", "40s")
    visitor = new_visitor(web.url(session))
    page = log_in(visitor, session)
    console = visitor.open(web.url(session) + "console")
    assert wait_state(console, "connected", "failed") == "connected"
    wait_phase(page, "failed")
    assert "not ready within 40 s" in page.locator("#lede").inner_text()
    assert page.locator("#hint").inner_text()
    assert page.locator("#link").is_hidden()
    assert wait_state(console, "failed") == "failed"
    assert "not ready within 40 s" in console.locator("#veil").inner_text()
    assert session.wait_end() == 7
    page.wait_for_timeout(3000)
    assert body(page, "phase") == "failed", "what the page knows, it keeps"
    assert "not ready within 40 s" in page.locator("#lede").inner_text()


def test_a_machine_that_dies_is_told_on_the_page(
    start: StartSession, blank_image: Path, new_visitor: NewVisitor
) -> None:
    session = start("--image", str(blank_image))
    page = log_in(new_visitor(web.url(session)), session)
    wait_phase(page, "booting")
    assert log_out(page).is_visible()
    os.kill(session.pid_of("qemu-system-x86_64"), signal.SIGSEGV)
    wait_phase(page, "failed")
    assert log_out(page).is_hidden(), "nobody is left to be told"
    assert "QEMU ended with signal 11" in page.locator("#lede").inner_text()
    assert session.wait_end() == 8


def test_a_supervisor_that_is_killed_is_a_lost_connection_and_not_an_end(
    start: StartSession, blank_image: Path, base: Path, new_visitor: NewVisitor
) -> None:
    session = start("--image", str(blank_image))
    page = log_in(new_visitor(web.url(session)), session)
    wait_phase(page, "booting")
    session.send(signal.SIGKILL)
    until("the lost line", lambda: body(page, "link") == "lost", page=page)
    assert body(page, "phase") == "booting"
    assert "Connection lost" in page.locator("#link").inner_text()
    session.wait_end()
    harness.run("gc", "--session-dir", str(base))


def test_a_frozen_gateway_is_noticed_by_the_page_and_forgiven(
    start: StartSession, blank_image: Path, new_visitor: NewVisitor
) -> None:
    session = start("--image", str(blank_image))
    page = log_in(new_visitor(web.url(session)), session)
    wait_phase(page, "booting")
    gateway = session.pid_by_name("sevenlbd.inside.gateway")
    os.kill(gateway, signal.SIGSTOP)
    try:
        until("the lost line", lambda: body(page, "link") == "lost", page=page)
    finally:
        os.kill(gateway, signal.SIGCONT)
    until("the line is back", lambda: body(page, "link") == "live", page=page)
    end(session)


def test_who_is_logged_out_already_is_not_offered_it(demo: Session, new_visitor: NewVisitor) -> None:
    visitor = new_visitor(web.url(demo))
    page = log_in(visitor, demo)
    wait_phase(page, "ready")
    second = visitor.open(web.url(demo))
    wait_phase(second, "ready")
    log_out(second).click()
    second.wait_for_selector("body[data-page=login]")
    until("the lock", lambda: body(page, "link") == "locked", page=page)
    assert log_out(page).is_hidden()


@pytest.mark.parametrize("storage", ["get() { throw new DOMException('no', 'SecurityError'); }", "value: null"])
def test_a_browser_that_keeps_nothing_shows_the_session(
    start: StartSession, blank_image: Path, new_visitor: NewVisitor, storage: str
) -> None:
    session = start("--image", str(blank_image))
    visitor = new_visitor(web.url(session))
    visitor.context.add_init_script(f"Object.defineProperty(window, 'localStorage', {{ {storage} }});")
    page = log_in(visitor, session)
    wait_phase(page, "booting")
    page.uncheck("#auto-open")
    assert not visitor.complaints
    end(session)


def seconds_left(page: Page) -> int:
    """What the page says, in its last minute."""
    return int(page.locator("#left").inner_text().split(".")[0].split(" ")[0])


def test_a_page_that_nobody_looks_at_leaves_its_connection_to_others(demo: Session, new_visitor: NewVisitor) -> None:
    """Browsers have six to a host, by HTTP/1.1: with a stream for each page the seventh would stay blank."""
    visitor = new_visitor(web.url(demo))
    visitor.context.add_init_script(_LOOKED_AT)
    pages = [log_in(visitor, demo) for _ in range(6)]
    for page in pages:
        page.wait_for_selector("body[data-link=live]")
        page.evaluate("() => look('hidden')")
    seventh = visitor.context.new_page()
    seventh.goto(web.url(demo), timeout=60_000)
    seventh.wait_for_selector("body[data-link=live]", timeout=60_000)
    asked: list[str] = []
    pages[0].on("request", lambda request: asked.append(request.headers["accept"]))
    until("a glance", lambda: "application/json" in asked, page=pages[0])
    assert "text/event-stream" not in asked
    assert pages[0].locator("#link").is_hidden(), "it is not taken for a silent line"
    pages[0].evaluate("() => look('visible')")
    until("its stream again", lambda: "text/event-stream" in asked, page=pages[0])


def test_time_that_runs_out_is_told(start: StartSession, blank_image: Path, new_visitor: NewVisitor) -> None:
    session = start("--image", str(blank_image), "--for", "45s")
    page = log_in(new_visitor(web.url(session)), session)
    wait_phase(page, "booting")
    assert "1 minute" in page.locator("#hurry").inner_text()
    first, begun = seconds_left(page), time.monotonic()
    page.wait_for_timeout(3000)
    assert 1 <= first - seconds_left(page) <= time.monotonic() - begun + 2
    wait_phase(page, "ended")
    assert "time is up" in page.locator("#lede").inner_text()
    assert session.wait_end() == 0


def test_the_console_shows_the_guest_and_types_into_it(demo: Session, guest: Console, new_visitor: NewVisitor) -> None:
    page = log_in(new_visitor(web.url(demo)), demo, to="console")
    wait_state(page, "connected")
    until("the login prompt in the picture", lambda: ink(page) > 300, page=page)
    page.click("#menu-button")
    page.click("#watch")
    web.type_text(page, "nobody\n")
    page.wait_for_timeout(1500)
    screen = "sudo cat /dev/vcs1"
    assert "nobody" not in guest.run(screen), "it was only to watch"
    page.click("#menu-button")
    page.click("#watch")
    page.locator("#stage canvas").click()
    web.type_text(page, "typed-7T\n")
    until("the name at the guest's prompt", lambda: "typed-7T" in guest.run(screen))
    guest.run("sudo systemctl restart getty@tty1")


def test_a_consoles_line_that_dies_alone_is_told_and_replaced_by_itself(
    demo: Session, guest: Console, new_visitor: NewVisitor
) -> None:
    line = Line(demo)
    try:
        visitor = new_visitor(line.address)
        visitor.context.add_init_script(web.COUNTS_ANSWERS)
        page = visitor.open(f"{line.address}#token={web.token(demo)}&to=console")
        wait_state(page, "connected")
        page.wait_for_function("() => answers > 0")
        seen = web.states_from_now_on(page)
        line.silence_sockets()
        page.wait_for_selector("body[data-line=silent]")
        page.wait_for_selector("body[data-line=live]")
        until("another line", lambda: seen()[-1:] == ["connected"], page=page)
        page.locator("#stage canvas").click()
        web.type_text(page, "again-7T\n")
        until("the name at the guest's prompt", lambda: "again-7T" in guest.run("sudo cat /dev/vcs1"))
    finally:
        line.close()
        guest.run("sudo systemctl restart getty@tty1")


def test_the_console_shows_the_firmware_before_there_is_any_guest(
    start: StartSession, blank_image: Path, new_visitor: NewVisitor
) -> None:
    session = start("--image", str(blank_image))
    page = log_in(new_visitor(web.url(session)), session, to="console")
    wait_state(page, "connected")
    until("the firmware's words", lambda: ink(page) > 500, page=page)
    end(session)
    assert wait_state(page, "ended") == "ended"


def test_a_console_switched_off_is_nowhere(start: StartSession, blank_image: Path, new_visitor: NewVisitor) -> None:
    session = start("--image", str(blank_image), "--no-console")
    page = log_in(new_visitor(web.url(session)), session)
    wait_phase(page, "booting")
    page.wait_for_timeout(1000)
    assert page.locator("#to-console").is_hidden()
    assert page.locator("#picture").is_hidden()
    here = web.url(session)
    for role in ("desktop", "console"):
        key = wire.cookie(here, web.token(session, role))
        assert wire.ask("GET", here + "console", {"Cookie": key}).status == 404
        assert wire.ask("GET", here + "ws/console", wire.handshake(here.rstrip("/"), key)).status == 404
    assert not (session.folder / "vnc.sock").exists()
    [machine] = [line for line in session.processes().values() if "qemu-system" in line]
    assert " -vnc " not in machine
    assert "vnc" not in machine
    end(session)


def test_a_key_for_the_status_shows_the_status_alone(demo: Session, new_visitor: NewVisitor) -> None:
    visitor = new_visitor(web.url(demo))
    page = log_in(visitor, demo, "status")
    wait_phase(page, "ready")
    for name in ("#ways", "#ending", "#picture", "#auto"):
        assert page.locator(name).is_hidden(), name
    assert_promises_no_desktop(page)
    here = web.url(demo)
    key = wire.cookie(here, web.token(demo, "status"))
    shown = wire.ask("GET", here + "api/status", {"Cookie": key})
    assert shown.status == 200
    for secret in (str(demo.folder), demo.password(), web.token(demo)):
        assert secret.encode() not in shown.body
    assert_forbidden(here, key, ["desktop", "console", "native", "api/desktop.rdp"], ["api/desktop", "api/stop"])


def test_a_key_for_the_console_opens_no_desktop(demo: Session, new_visitor: NewVisitor) -> None:
    page = log_in(new_visitor(web.url(demo)), demo, "console")
    wait_phase(page, "ready")
    assert page.locator("#to-desktop").is_hidden()
    assert page.locator("#ending").is_hidden()
    assert_promises_no_desktop(page)
    assert "console" in page.locator("#lede").inner_text()
    page.click("#to-console")
    wait_state(page, "connected")
    here = web.url(demo)
    key = wire.cookie(here, web.token(demo, "console"))
    assert_forbidden(here, key, ["desktop", "native", "api/desktop.rdp"], ["api/desktop", "api/stop", "api/client"])


def assert_promises_no_desktop(page: Page) -> None:
    assert page.locator("#headline").inner_text() == "The desktop is ready", "it is somebody else's"
    assert "opens in this browser" not in page.locator("#lede").inner_text()


def assert_forbidden(here: str, key: str, pages: list[str], orders: list[str]) -> None:
    origin = here.rstrip("/")
    for path in pages:
        assert wire.ask("GET", here + path, {"Cookie": key}).status == 403, path
    for path in orders:
        assert wire.ask("POST", here + path, {"Cookie": key, "Origin": origin}, b"{}").status == 403, path
    assert wire.ask("GET", here + "ws/rdp?tab=x", wire.handshake(origin, key)).status == 403


def test_a_full_disk_that_pauses_the_guest_is_shown_and_goes_again(demo: Session, new_visitor: NewVisitor) -> None:
    """The page is told what the session's state is told; here the state comes by the browser's own network."""
    page = log_in(new_visitor(web.url(demo)), demo)
    wait_phase(page, "ready")
    told: dict[str, Any] = json.loads(
        wire.ask("GET", web.url(demo) + "api/status", {"Authorization": f"Bearer {web.token(demo)}"}).body
    )
    page.route(
        "**/api/status",
        lambda route: route.fulfill(
            body=f"event: status\ndata: {json.dumps(told | {'paused': 'no space left on device'})}\n\n",
            content_type="text/event-stream",
        ),
    )
    page.reload()
    until("the notice", lambda: "no space left" in page.locator("#paused").inner_text(), page=page)
    page.unroute("**/api/status")
    until("it is gone", lambda: page.locator("#paused").is_hidden(), page=page)


PAGES = ("", "desktop", "console", "native")


# A phone; a laptop's window at 200 %, which is half as wide for the page; and a wide screen.
WINDOWS = ((360, 740), (640, 400), (1440, 900))


@pytest.mark.parametrize("path", ["login", *PAGES])
def test_every_page_is_readable_in_any_window_light_and_dark(demo: Session, new_visitor: NewVisitor, path: str) -> None:
    page = shown(new_visitor(web.url(demo)), demo, path)
    for width, height in WINDOWS:
        page.set_viewport_size({"width": width, "height": height})
        page.wait_for_timeout(100)
        too_wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert too_wide <= 0, f"at {width} px it scrolls sideways by {too_wide} px"
    grounds: set[str] = set()
    schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    for scheme in schemes:
        page.emulate_media(color_scheme=scheme)
        page.wait_for_timeout(300)
        grounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        faults = page.evaluate(CONTRAST)
        assert not faults, f"{scheme}: {faults}"
    assert len(grounds) == (1 if path in ("desktop", "console") else 2), grounds


def shown(visitor: Visitor, session: Session, path: str) -> Page:
    """The page, as soon as it shows what it is for; the desktop and the console with their menu open."""
    page = visitor.open(web.url(session)) if path == "login" else log_in(visitor, session)
    if path not in ("login", ""):
        page.goto(web.url(session) + path)
    settle(page)
    return page


def settle(page: Page) -> None:
    """Until the page shows what it is for."""
    match body(page, "page"):
        case "desktop" | "console":
            wait_state(page, "connected")
            page.click("#menu-button")
        case "status" | "native":
            until("live", lambda: body(page, "link") == "live", page=page)


# Contrast of each visible text with what is behind it, after WCAG 2.2, 1.4.3: 4.5, or 3 for large text.
CONTRAST = """() => {
    const parse = colour => {
        const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
        return [r, g, b, a / 255];
    };
    const light = ([r, g, b]) => [r, g, b].map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const over = (top, under) => [0, 1, 2].map(i => top[i] * top[3] + under[i] * (1 - top[3])).concat(1);
    const behind = element => {
        const layers = [];
        for (let at = element; at; at = at.parentElement) {
            const colour = parse(getComputedStyle(at).backgroundColor);
            layers.push(colour);
            if (colour[3] === 1) break;
        }
        const page = getComputedStyle(document.documentElement).colorScheme.includes("dark")
            && matchMedia("(prefers-color-scheme: dark)").matches ? [0, 0, 0, 1] : [255, 255, 255, 1];
        return layers.reverse().reduce((under, top) => over(top, under), page);
    };
    const faults = [];
    for (const element of document.querySelectorAll("body *")) {
        const own = [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim());
        const style = getComputedStyle(element);
        if (!own || !element.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue;
        if (element.closest("[disabled], [aria-disabled=true], #screen, #view, #stage, noscript, option")) continue;
        const ground = behind(element), ink = over(parse(style.color), ground);
        const [a, b] = [light(ink), light(ground)].sort((x, y) => y - x);
        const ratio = (a + 0.05) / (b + 0.05);
        const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
        if (ratio < (large ? 3 : 4.5)) faults.push(`${element.id || element.tagName} "${element.textContent.trim().slice(0, 30)}" ${ratio.toFixed(2)}`);
    }
    return faults;
}"""  # fmt: skip  # noqa: E501  # JavaScript

# Every thing that can be used has a name, and every id is there once.
NAMES = """() => {
    const faults = [];
    for (const element of document.querySelectorAll("a[href], button, input, textarea, select, summary, [tabindex='0'], img, [role=img]")) {
        if (!element.checkVisibility({ visibilityProperty: true })) continue;
        const named = element.getAttribute("aria-label") || element.getAttribute("aria-labelledby")
            || element.textContent.trim() || element.alt || (element.labels && [...element.labels].some(label => label.textContent.trim()));
        if (!named) faults.push(element.outerHTML.slice(0, 80));
    }
    for (const element of document.querySelectorAll("[aria-labelledby], [aria-controls], [for]"))
        for (const name of ["aria-labelledby", "aria-controls", "for"])
            for (const id of (element.getAttribute(name) || "").split(" ").filter(Boolean))
                if (!document.getElementById(id)) faults.push(`${name}=${id} leads nowhere`);
    const ids = [...document.querySelectorAll("[id]")].map(element => element.id);
    for (const id of new Set(ids.filter((id, at) => ids.indexOf(id) !== at))) faults.push(`id ${id} twice`);
    if (!document.documentElement.lang) faults.push("no language");
    if (!document.title) faults.push("no title");
    if (document.querySelectorAll("main").length !== 1) faults.push("not one main");
    if (document.querySelectorAll("h1").length !== 1) faults.push("not one h1");
    return faults;
}"""  # noqa: E501  # JavaScript


@pytest.mark.parametrize("path", ["login", *PAGES])
def test_every_control_has_a_name_and_the_keyboard_reaches_it(
    demo: Session, new_visitor: NewVisitor, path: str
) -> None:
    page = shown(new_visitor(web.url(demo)), demo, path)
    assert page.evaluate(NAMES) == []
    if path in ("desktop", "console"):
        page.keyboard.press("Escape")
        page.keyboard.press("Control+Alt+Home")
        until("the menu", lambda: page.locator("#menu").is_visible(), page=page)
    wanted = set(
        page.evaluate(
            """() => [...document.querySelectorAll("a[href], button, input:not([type=hidden]), summary")]
            .filter(element => element.checkVisibility({ visibilityProperty: true }) && !element.disabled && element.tabIndex >= 0)
            .map((element, number) => element.dataset.mark = String(number))"""  # noqa: E501  # JavaScript
        )
    )
    found: set[str] = set()
    page.keyboard.press("Shift+Tab")  # the menu has the keyboard, and its handle stands before it
    for _ in range(3 * len(wanted) + 5):
        if mark := page.evaluate("document.activeElement?.dataset.mark"):
            found.add(mark)
            assert page.evaluate(FOCUS_SHOWS), page.evaluate("document.activeElement.outerHTML")
        page.keyboard.press("Tab")
    assert found == wanted, "the keyboard does not get everywhere"


FOCUS_SHOWS = """() => {
    const style = getComputedStyle(document.activeElement);
    return style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1 || style.boxShadow !== "none";
}"""


def test_stopping_needs_no_mouse(start: StartSession, blank_image: Path, new_visitor: NewVisitor) -> None:
    session = start("--image", str(blank_image))
    page = log_in(new_visitor(web.url(session)), session)
    wait_phase(page, "booting")
    for _ in itertools.repeat(None, 20):
        if page.evaluate("document.activeElement?.id") == "stop":
            break
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector("#stop-dialog[open]")
    page.keyboard.press("Escape")
    page.wait_for_selector("#stop-dialog", state="hidden")
    assert page.evaluate("document.activeElement?.id") == "stop"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    wait_phase(page, "ended")
    assert session.wait_end() == 0


def test_the_native_page_tells_what_is_true(demo: Session, guest: Console, new_visitor: NewVisitor) -> None:
    page = log_in(new_visitor(web.url(demo)), demo)
    page.goto(web.url(demo) + "native")
    until("live", lambda: body(page, "link") == "live", page=page)
    assert f"{demo.folder}/rdp.sock" in page.locator("#ssh").inner_text()
    assert demo.password() not in page.content()
    page.click("#show")
    until("the password", lambda: page.locator("#password").inner_text() == demo.password(), page=page)
    page.click("#show")
    assert demo.password() not in page.content()
    shown = guest.run("openssl x509 -noout -fingerprint -sha256 -in ~/.config/freerdp/shadow/shadow.crt")
    assert page.locator("#fingerprint").inner_text() == shown.rpartition("=")[2].strip()
    with page.expect_download() as download:
        page.click("#rdp-file")
    text = Path(download.value.path()).read_text()
    assert f"username:s:{demo_account(demo)}" in text
    assert demo.password() not in text


def demo_account(session: Session) -> str:
    account: str = json.loads((session.folder / "credentials.json").read_text())["account"]
    return account
