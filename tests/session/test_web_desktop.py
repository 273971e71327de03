"""The desktop in a real browser: in by the link, picture, keyboard, mouse, and back again after whatever happens."""

from __future__ import annotations

import base64
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import harness
import pytest
import web
from harness import Console, Session
from lines import Line
from pictures import MARK, Colour, is_a_desktop
from playwright.sync_api import Browser, Dialog, Page, Request, Route, WebSocket
from web import NewVisitor, Visitor, log_in, until, wait_state

SIZE = {"width": 1280, "height": 800}


@pytest.fixture(scope="module")
def regular(chromium: Browser, demo: Session) -> Iterator[Visitor]:
    """Somebody who comes again: the browser has compiled the client before."""
    visitors = web.visitors(chromium, "regular")
    yield next(visitors)(web.url(demo))
    next(visitors, None)


@pytest.fixture
def desktop(demo: Session, regular: Visitor) -> Iterator[Page]:
    """The shared session's desktop, with its picture."""
    page = opened(regular, demo)
    yield page
    page.close()
    assert not regular.complaints


def opened(visitor: Visitor, session: Session) -> Page:
    page = log_in(visitor, session)
    page.goto(web.url(session) + "desktop")
    wait_state(page, "connected")
    return page


@contextmanager
def window(guest: Console, title: str, command: str) -> Iterator[str]:
    """A program's window in the guest, in front and with the keyboard; gives its X id."""
    guest.run(f"(DISPLAY=:0 setsid {command} >/tmp/{title}.log 2>&1 &)")
    try:
        yield str(until(f"the window {title}", lambda: active(guest, title), 60))
    finally:
        guest.attempt(f"pkill -f {title}")
        guest.attempt(f"rm -f /tmp/{title}.log")


def active(guest: Console, title: str) -> str:
    """The X id of the window that has the keyboard, when it has that title."""
    identity, _ = guest.attempt("DISPLAY=:0 xprop -root -notype _NET_ACTIVE_WINDOW | grep -o '0x[0-9a-f]*'")
    name, _ = guest.attempt(f"DISPLAY=:0 xprop -id {identity or 0} WM_NAME")
    return identity if title in name else ""


@pytest.fixture(scope="module")
def mark(demo: Session) -> Iterator[Colour]:
    """A window of a colour of its own, in the lower right of the guest's screen."""
    place = "--geometry=40x12+800+500 --hide-menubar"
    command = f"xfce4-terminal --disable-server --title=7t-mark --color-bg='#12ab34' {place}"
    with console(demo) as guest:
        guest.run(f"(DISPLAY=:0 setsid {command} >/dev/null 2>&1 &)")
    yield MARK
    with console(demo) as guest:
        guest.attempt("pkill -f 7t-mark")


@contextmanager
def console(session: Session) -> Iterator[Console]:
    """A shell in the guest; its line is for one at a time."""
    shell = Console(session)
    yield shell
    shell.close()


@contextmanager
def listener(guest: Console) -> Iterator[Callable[[str], list[str]]]:
    """A window at 300,200 of 400x300 that notes what comes from keyboard and mouse; gives the notes of a kind."""
    place = "-geometry 400x300+300+200 -name 7t-xev -event keyboard -event button"
    # Without a frame the window is where it is told to be.
    with window(guest, "7t-xev", f"xev {place}"):
        yield lambda kind: guest.run(f"grep -A3 '^{kind} event' /tmp/7t-xev.log; true").split("--")


def clicks(notes: list[str]) -> list[tuple[int, int, int]]:
    """Button, and the point on the guest's screen."""
    found = []
    for note in notes:
        where, button = re.search(r"root:\((\d+),(\d+)\)", note), re.search(r"button (\d+)", note)
        if where and button:
            found.append((int(button[1]), int(where[1]), int(where[2])))
    return found


def one_more_click(notes: Callable[[str], list[str]], number: int) -> tuple[int, int, int]:
    until(f"click {number}", lambda: len(clicks(notes("ButtonPress"))) == number)
    return clicks(notes("ButtonPress"))[-1]


def keys(notes: list[str]) -> list[str]:
    return re.findall(r"keysym 0x[0-9a-f]+, (\w+)\)", "".join(notes))


def test_the_link_logs_in_and_the_key_stays_nowhere(demo: Session, new_visitor: NewVisitor) -> None:
    visitor, key = new_visitor(web.url(demo)), web.token(demo)
    seen: list[str] = []

    def note(request: Request) -> None:
        seen.append(request.url + request.headers.get("referer", ""))

    visitor.context.on("request", note)
    page = log_in(visitor, demo)
    until("the status", lambda: page.locator("body").get_attribute("data-link") == "live", page=page)
    page.goto(web.url(demo) + "desktop")
    page.go_back()
    assert page.url == web.url(demo)
    page.go_back()
    assert key not in page.url
    assert not any(key in line for line in seen), "the key went over the network in an address"
    page.goto(web.url(demo))
    stored = page.evaluate("JSON.stringify([document.cookie, localStorage, sessionStorage, history.state, name])")
    assert key not in stored
    [cookie] = visitor.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", "/")
    assert key not in cookie["value"]
    assert f"sevenlbd-{demo.id}" == cookie["name"]
    for path in demo.folder.rglob("*"):
        if path.is_file() and path.name != "credentials.json" and path.stat().st_size < 10_000_000:
            assert key.encode() not in path.read_bytes(), path
    assert key not in demo.story()


def test_a_link_leads_somebody_who_is_in_where_it_says_and_its_key_stays_in_no_address(
    demo: Session, new_visitor: NewVisitor
) -> None:
    visitor, key = new_visitor(web.url(demo)), web.token(demo)
    log_in(visitor, demo).close()
    page = log_in(visitor, demo, to="native")
    for name in ("", "native", "console", "desktop"):
        # Not goto(): that fails when the page leads on before it is there.
        page.evaluate("(url) => { setTimeout(() => { location.href = url; }); }", f"{web.url(demo)}{name}#token={key}")
        page.wait_for_selector(f"body[data-page={name or 'status'}]")
        until("the key goes", lambda: key not in page.url, page=page)
        # Pasted over the page, for which only the first of them is loaded again: it may show more then.
        page.evaluate("(key) => { window.isOld = true; location.hash = `token=${key}`; }", key)
        until("the key goes again", lambda: key not in page.url, page=page)
        if not name:
            page.wait_for_function("() => !window.isOld")
    assert key not in page.evaluate("JSON.stringify([history.state, localStorage, sessionStorage])")


def test_the_desktop_opens_by_itself_and_shows_what_is_in_the_guest(desktop: Page, mark: Colour) -> None:
    image = web.until_shown(desktop, "web-desktop.png", mark, 20_000)
    assert is_a_desktop(image)
    assert desktop.locator("#veil").is_hidden()


# [MS-RDPBCGR] 2.2.7.1.2: the Bitmap Capability Set of the guest's first offer, up to its preferredBitsPerPixel.
OFFERED = re.compile(rb"\x02\x00\x1c\x00(..)", re.DOTALL)


def test_the_guest_offers_32_bits_a_pixel_for_the_client_asks_for_them(demo: Session, regular: Visitor) -> None:
    """With fewer, Windows sends plain bitmaps instead of RemoteFX."""
    page, came = log_in(regular, demo), bytearray()

    def note(line: WebSocket) -> None:
        line.on("framereceived", lambda data: came.extend(data if isinstance(data, bytes) else b""))

    page.on("websocket", note)
    page.goto(web.url(demo) + "desktop")
    wait_state(page, "connected")
    offered = until("the guest's offer", lambda: OFFERED.search(came), page=page)
    page.close()
    assert int.from_bytes(offered[1], "little") == 32


def test_what_is_typed_in_the_browser_becomes_a_file_in_the_users_home(guest: Console, desktop: Page) -> None:
    written = Path.home() / f"7t-typed-{os.getpid()}.txt"
    words = 'Hello, World! 50% of {a|b} ~ #42 & "C:\\dir" <x@y> (1+2=3) [z]; $5^ it_is-`so`?'
    with window(guest, "7t-shell", "xfce4-terminal --disable-server --title=7t-shell -x sh"):
        try:
            # On a busy machine a key is let go so late that the guest repeats it.
            guest.run("DISPLAY=:0 xset r off")
            web.type_text(desktop, f"cat > Home/{written.name}\n{words}\n")
            desktop.keyboard.press("Control+KeyD")
            until("the file in the node's home", lambda: written.exists() and written.read_text())
            assert written.read_text() == f"{words}\n"
        finally:
            written.unlink(missing_ok=True)


def test_mouse_buttons_and_wheel_come_where_they_were_pointed_at(guest: Console, desktop: Page) -> None:
    buttons: dict[int, Literal["left", "middle", "right"]] = {1: "left", 2: "middle", 3: "right"}
    with listener(guest) as notes:
        shown = web.picture(desktop)
        for number, (button, x, y) in enumerate([(1, 400, 330), (3, 600, 450), (2, 450, 410)], 1):
            desktop.mouse.click(*shown.point(x, y), button=buttons[button])
            got, at_x, at_y = one_more_click(notes, number)
            assert got == button
            assert abs(at_x - x) <= 1
            assert abs(at_y - y) <= 1
        desktop.mouse.wheel(0, 120)
        desktop.mouse.wheel(0, -120)
        until("the wheel", lambda: {got for got, _, _ in clicks(notes("ButtonPress"))[3:]} == {4, 5})


def test_the_picture_follows_the_window_and_the_mouse_with_it(guest: Console, desktop: Page) -> None:
    sockets: list[str] = []
    desktop.on("websocket", lambda opened: sockets.append(opened.url))
    expected = 0
    with listener(guest) as notes:
        for width, height in ((1000, 700), (1500, 650), (500, 900)):
            desktop.set_viewport_size({"width": width, "height": height})
            desktop.wait_for_timeout(1500)
            wait_state(desktop, "connected")
            shown = web.picture(desktop)
            assert shown.x >= -1
            assert shown.y >= -1
            assert shown.x + shown.width <= width + 1, "the picture is wider than the window"
            assert shown.y + shown.height <= height + 1, "the picture is higher than the window"
            assert abs(shown.width / shown.height - shown.guest_width / shown.guest_height) < 0.02, "stretched"
            desktop.mouse.click(*shown.point(650, 350))
            expected += 1
            button, x, y = one_more_click(notes, expected)
            assert button == 1
            assert abs(x - 650) <= 2
            assert abs(y - 350) <= 2
        opened_sockets = len(sockets)
        desktop.wait_for_timeout(3000)
        assert len(sockets) == opened_sockets, "it reconnects for ever"
    assert opened_sockets <= 3


def test_actual_size_is_pixel_for_pixel_and_fit_fits(desktop: Page) -> None:
    desktop.set_viewport_size({"width": 900, "height": 600})
    desktop.wait_for_timeout(1500)
    wait_state(desktop, "connected")
    press(desktop, "scale")
    shown = web.picture(desktop)
    assert (shown.width, shown.height) == (shown.guest_width, shown.guest_height)
    press(desktop, "scale")
    until("the picture fits", lambda: web.picture(desktop).width <= 900, page=desktop)


def press(page: Page, name: str) -> None:
    """A button of the menu."""
    page.click("#menu-button")
    page.click(f"#{name}")


def test_the_menus_keys_reach_the_guest(guest: Console, desktop: Page) -> None:
    with listener(guest) as notes:
        press(desktop, "meta")
        press(desktop, "cad")
        until("the keys", lambda: "Delete" in keys(notes("KeyPress")))
        assert keys(notes("KeyPress")) == ["Super_L", "Control_L", "Alt_L", "Delete"]
        until("their release", lambda: len(keys(notes("KeyRelease"))) == 4)


def test_no_key_hangs_when_the_window_loses_the_keyboard(guest: Console, desktop: Page) -> None:
    with listener(guest) as notes:
        desktop.locator("#stage").focus()
        desktop.keyboard.down("ControlLeft")
        until("the key", lambda: keys(notes("KeyPress")) == ["Control_L"])
        desktop.evaluate("dispatchEvent(new Event('blur'))")
        until("its release", lambda: keys(notes("KeyRelease")) == ["Control_L"])


def test_a_gateway_that_is_killed_comes_back_and_the_browser_with_it(
    demo: Session, mark: Colour, desktop: Page
) -> None:
    gateway = demo.pid_by_name("sevenlbd.inside.gateway")
    seen = web.states_from_now_on(desktop)
    os.kill(gateway, signal.SIGKILL)
    until("that the page reconnects", lambda: "reconnecting" in seen(), page=desktop)
    wait_state(desktop, "connected")
    assert demo.pid_by_name("sevenlbd.inside.gateway") != gateway
    web.until_shown(desktop, "web-gateway-killed.png", mark, 20_000)


@pytest.fixture
def line(demo: Session) -> Iterator[Line]:
    made = Line(demo)
    yield made
    made.close()


def test_a_line_that_breaks_is_told_and_mended_by_itself(
    demo: Session, mark: Colour, new_visitor: NewVisitor, line: Line
) -> None:
    page = new_visitor(line.address).open(f"{line.address}#token={web.token(demo)}&to=desktop")
    wait_state(page, "connected")
    line.cut()
    wait_state(page, "reconnecting")
    assert "ended" not in page.locator("#veil").inner_text(), "a broken network is no ended session"
    time.sleep(2)
    line.mend()
    wait_state(page, "connected")
    web.until_shown(page, "web-line-mended.png", mark, 20_000)


def test_a_line_that_breaks_before_the_client_is_whole_begins_the_page_anew(
    demo: Session, new_visitor: NewVisitor, line: Line
) -> None:
    visitor = new_visitor(line.address)
    visitor.context.add_init_script(web.KEEPS_CLIENT)
    page = visitor.open(f"{line.address}#token={web.token(demo)}&to=desktop")
    wait_state(page, "connected")
    assert page.evaluate("() => { window.isOld = true; return client['7lbd-apart'].value; }") == 1
    line.cut()
    page.evaluate("() => { setTimeout(() => client.rdpfile_create()); }")
    wait_state(page, "reconnecting")
    line.mend()
    wait_state(page, "connected")
    assert page.evaluate("() => window.isOld") is None


def test_a_silent_line_is_told_at_once_and_what_is_typed_blind_never_arrives(
    demo: Session, guest: Console, new_visitor: NewVisitor, line: Line
) -> None:
    page = new_visitor(line.address).open(f"{line.address}#token={web.token(demo)}&to=desktop")
    wait_state(page, "connected")
    with listener(guest) as notes:
        web.type_text(page, "a")
        until("a key on a good line", lambda: keys(notes("KeyPress")) == ["a"])
        line.silence()
        told = web.seen_after(page, 5000, "document.body.dataset.line")
        page.wait_for_timeout(1000)
        web.type_text(page, "b")  # nobody can know yet
        page.wait_for_selector("body[data-line=silent]")
        assert told() == "silent"
        assert page.locator("#silence").is_visible()
        web.type_text(page, "c")
        page.wait_for_timeout(3000)
        web.shot(page, "web-silent-line.png")
        assert page.locator("#silence").is_visible(), "it lasts as long as the silence"
        line.speak()
        page.wait_for_selector("body[data-line=live]")
        assert page.locator("#silence").is_hidden()
        assert "was not sent" in page.locator("#toast").inner_text()
        assert web.state(page) == "connected"
        web.type_text(page, "d")
        until("the key after it", lambda: "d" in keys(notes("KeyPress")))
        assert keys(notes("KeyPress")) == ["a", "d"]


def test_a_desktops_line_that_dies_alone_is_told_and_replaced_by_itself(
    demo: Session, guest: Console, new_visitor: NewVisitor, line: Line
) -> None:
    """Somewhere a router has forgotten it: nobody is told, and the status goes on beside it."""
    visitor = new_visitor(line.address)
    visitor.context.add_init_script(web.COUNTS_ANSWERS)
    page = visitor.open(f"{line.address}#token={web.token(demo)}&to=desktop")
    wait_state(page, "connected")
    page.wait_for_function("() => answers > 0")
    with listener(guest) as notes:
        line.silence_sockets()
        page.wait_for_selector("body[data-line=silent]")
        assert page.locator("#silence").is_visible()
        web.type_text(page, "b")
        wait_state(page, "reconnecting", "connecting")
        wait_state(page, "connected")
        page.wait_for_selector("body[data-line=live]")
        assert page.locator("#silence").is_hidden()
        line.speak()
        page.wait_for_timeout(2000)  # for the old line's end, which is not the new one's

        def arrives() -> bool:
            web.type_text(page, "d")  # a page that waits for a moment sends nothing
            return "d" in keys(notes("KeyPress"))

        until("a key after it", arrives)
        assert set(keys(notes("KeyPress"))) == {"d"}
        seen, answers = web.states_from_now_on(page), page.evaluate("() => answers")
        page.wait_for_function("(before) => answers > before + 3", arg=answers)
        assert not seen(), "it is not replaced again and again"


def test_a_question_that_is_never_answered_is_asked_again(demo: Session, new_visitor: NewVisitor) -> None:
    """As on a line that a browser kept, and that died unheard of."""
    asked: list[str] = []

    def answer(route: Route) -> None:
        asked.append(route.request.url)
        if len(asked) > 1:
            route.continue_()

    visitor = new_visitor(web.url(demo))
    visitor.context.route("**/api/desktop", answer)
    page = log_in(visitor, demo, to="desktop")
    wait_state(page, "connected", seconds=60)
    assert len(asked) > 1


def test_a_tab_asks_before_it_closes_while_its_picture_waits_for_the_line_too(
    demo: Session, new_visitor: NewVisitor, line: Line
) -> None:
    page = new_visitor(line.address).open(f"{line.address}#token={web.token(demo)}&to=desktop")
    wait_state(page, "connected")
    page.mouse.click(300, 300)  # who has done nothing on a page is not asked
    asked: list[str] = []

    def stay(dialog: Dialog) -> None:
        asked.append(dialog.type)
        dialog.dismiss()

    page.on("dialog", stay)
    line.cut()
    wait_state(page, "reconnecting")
    page.close(run_before_unload=True)
    until("the question", lambda: asked == ["beforeunload"], page=page)
    line.mend()
    wait_state(page, "connected")
    page.remove_listener("dialog", stay)


def test_a_window_that_comes_back_by_itself_takes_the_desktop_from_nobody(
    demo: Session, new_visitor: NewVisitor, line: Line
) -> None:
    page = new_visitor(line.address).open(f"{line.address}#token={web.token(demo)}&to=desktop")
    wait_state(page, "connected")
    line.cut()
    wait_state(page, "reconnecting")
    elsewhere = opened(new_visitor(web.url(demo)), demo)
    seen = web.states_from_now_on(elsewhere)
    line.mend()
    wait_state(page, "taken")
    page.wait_for_timeout(3000)
    assert (web.state(page), web.state(elsewhere), seen()) == ("taken", "connected", [])
    page.click("#again")
    wait_state(page, "connected")
    wait_state(elsewhere, "taken")


def test_the_mouses_back_and_forward_are_the_guests_and_the_page_stays(
    guest: Console, desktop: Page, demo: Session
) -> None:
    cdp = desktop.context.new_cdp_session(desktop)
    with listener(guest) as notes:
        x, y = web.picture(desktop).point(450, 350)
        desktop.mouse.move(x, y)
        for number, (name, bit, got) in enumerate([("back", 8, 8), ("forward", 16, 9)], 1):
            at = {"x": x, "y": y, "button": name, "clickCount": 1}
            cdp.send("Input.dispatchMouseEvent", {"type": "mousePressed", "buttons": bit, **at})
            cdp.send("Input.dispatchMouseEvent", {"type": "mouseReleased", **at})
            assert one_more_click(notes, number)[0] == got
        desktop.wait_for_timeout(500)
    assert desktop.url == web.url(demo) + "desktop"
    assert web.state(desktop) == "connected"


def test_a_tab_with_a_desktop_asks_before_it_closes_and_our_own_links_do_not(desktop: Page) -> None:
    asked: list[str] = []

    def stay(dialog: Dialog) -> None:
        asked.append(dialog.type)
        dialog.dismiss()

    desktop.on("dialog", stay)
    desktop.mouse.click(600, 400)  # browsers ask for pages only that were used
    desktop.close(run_before_unload=True)
    until("the question", lambda: asked == ["beforeunload"], page=desktop)
    assert web.state(desktop) == "connected"
    desktop.click("#menu-button")
    desktop.click("#menu a")
    desktop.wait_for_selector("body[data-page=status]")
    assert asked == ["beforeunload"]


ELSEWHERE = "http://mail.example.org/"


def followed(visitor: Visitor, address: str) -> Page:
    """A link in a page of another site's, clicked."""
    page = visitor.context.new_page()
    page.route(ELSEWHERE, lambda route: route.fulfill(content_type="text/html", body=f'<a href="{address}">go</a>'))
    page.goto(ELSEWHERE)
    page.click("a")
    visitor.complaints[:] = [words for words in visitor.complaints if ELSEWHERE not in words]
    return page


def test_a_link_from_another_site_opens_the_desktop_of_who_is_logged_in_and_takes_it_from_nobody(
    demo: Session, new_visitor: NewVisitor
) -> None:
    visitor = new_visitor(web.url(demo))
    log_in(visitor, demo).close()
    page = followed(visitor, web.url(demo) + "desktop")
    wait_state(page, "connected")
    assert page.url == web.url(demo) + "desktop"
    second = followed(visitor, web.url(demo) + "desktop")
    wait_state(second, "taken")
    assert web.state(page) == "connected"
    stranger = followed(new_visitor(web.url(demo)), web.url(demo) + "desktop")
    stranger.wait_for_selector("body[data-page=login][data-state=idle]")
    assert stranger.url == web.url(demo) + "desktop"


@pytest.mark.parametrize(
    "kind", ["the whole link", "quoted mail", "guarded mail", "broken lines", "in quotes", "spaces"]
)
def test_the_key_field_takes_what_people_paste(demo: Session, new_visitor: NewVisitor, kind: str) -> None:
    whole, key = web.link(demo), web.token(demo)
    pasted = {
        "the whole link": f"{whole}&to=desktop",
        "quoted mail": f"> Here is it:\n> > {whole[:-20]}\n> > {whole[-20:]}\n> Bye",
        "guarded mail": f"\ufeffhttps://safelinks.example.org/?url={quote(whole, '')}&data=05%7C02&reserved=0",
        "broken lines": f"{key[:30]}\r\n{key[30:]}",
        "in quotes": f"\u201c{key}\u201d.",
        "spaces": f"  \t{key}\n",
    }[kind]
    page = new_visitor(web.url(demo)).open(web.url(demo))
    page.wait_for_selector("body[data-state=idle]")
    page.locator("#token").focus()
    page.keyboard.insert_text(pasted)
    page.keyboard.press("Enter")
    page.wait_for_selector("body[data-page=status]")


def test_a_key_that_nobody_answers_is_told(demo: Session, new_visitor: NewVisitor) -> None:
    visitor = new_visitor(web.url(demo))
    for address in (web.link(demo), web.url(demo)):
        page = visitor.context.new_page()
        page.route("**/login", lambda _: None)
        page.goto(address)
        if address == web.url(demo):
            page.wait_for_selector("body[data-state=idle]")
            page.fill("#token", web.token(demo))
            page.keyboard.press("Enter")
        told = web.seen_after(page, 5000, "document.querySelector('#message').textContent")
        assert "has not answered yet" in told()


def test_no_form_shows_itself_while_a_key_of_the_address_is_tried(demo: Session, new_visitor: NewVisitor) -> None:
    visitor = new_visitor(web.url(demo))
    visitor.context.add_init_script(
        "addEventListener('DOMContentLoaded', () => { const look = () => {"
        " const form = document.querySelector('#token');"
        " if (form && getComputedStyle(form).visibility === 'visible') sessionStorage.setItem('flashed', 'yes');"
        " requestAnimationFrame(look); }; look(); });"
    )
    page = log_in(visitor, demo)
    assert page.evaluate("sessionStorage.getItem('flashed')") is None
    refused = new_visitor(web.url(demo)).open(f"{web.url(demo)}#token=wrong")
    wait_state(refused, "refused")
    assert refused.locator("#token").is_visible()


def test_a_second_tab_takes_over_and_the_first_can_take_it_back(
    demo: Session, mark: Colour, desktop: Page, new_visitor: NewVisitor
) -> None:
    second = opened(new_visitor(web.url(demo)), demo)
    wait_state(desktop, "taken")
    assert "elsewhere" in desktop.locator("#veil").inner_text()
    desktop.wait_for_timeout(3000)
    assert (web.state(desktop), web.state(second)) == ("taken", "connected"), "they fight"
    desktop.click("#again")
    wait_state(desktop, "connected")
    wait_state(second, "taken")
    web.until_shown(desktop, "web-taken-back.png", mark, 20_000)
    assert web.state(second) == "taken"


def test_a_desktop_that_is_taken_at_its_beginning_is_no_broken_client(demo: Session, new_visitor: NewVisitor) -> None:
    """Its client has but its first part then, and is asked for no more than that."""
    visitor = new_visitor(web.url(demo))
    held: list[Route] = []
    taken: list[bool] = []

    def hold(route: Route) -> None:
        if taken:
            return route.continue_()
        return held.append(route)

    visitor.context.route("**/client-rest*", hold)
    page = log_in(visitor, demo, to="desktop")
    wait_state(page, "connected")
    seen = web.states_from_now_on(page)
    opened(new_visitor(web.url(demo)), demo)
    wait_state(page, "taken")
    page.wait_for_timeout(8000)  # until it has been asked for, at the latest
    taken.append(True)
    for each in held:
        each.continue_()
    page.wait_for_timeout(3000)
    assert seen()[-1] == "taken"
    assert "crashed" not in seen()
    page.click("#again")
    wait_state(page, "connected")


def test_a_renewed_key_ends_what_the_old_one_opened(demo: Session, desktop: Page, new_visitor: NewVisitor) -> None:
    old = web.link(demo)
    done = harness.run("connect", demo.id, "--renew", "--session-dir", str(demo.base))
    assert done.returncode == 0, done.stderr
    wait_state(desktop, "locked")
    page = new_visitor(web.url(demo)).open(old)
    wait_state(page, "refused")
    assert "replaced by a newer one" in page.locator("#message").inner_text()
    assert desktop.evaluate("fetch('api/status').then((answer) => answer.status)") == 401
    desktop.evaluate("(key) => { location.hash = `token=${key}`; }", web.token(demo))  # the new link, pasted over it
    wait_state(desktop, "connected")
    opened(new_visitor(web.url(demo)), demo)


def test_a_browser_without_webassembly_is_told_what_else_will_do(demo: Session, new_visitor: NewVisitor) -> None:
    visitor = new_visitor(web.url(demo))
    visitor.context.add_init_script("delete globalThis.WebAssembly")
    page = log_in(visitor, demo, to="desktop")
    wait_state(page, "unsupported")
    assert "WebAssembly" in page.locator("#veil").inner_text()
    page.click("#veil-native")
    page.wait_for_selector("body[data-page=native]")


def test_a_client_that_breaks_down_is_started_anew_by_its_user(desktop: Page, mark: Colour) -> None:
    # What the browser reports when WebAssembly traps; the real one has no known fault to trap on.
    desktop.evaluate("dispatchEvent(new ErrorEvent('error', {error: new WebAssembly.RuntimeError('unreachable')}))")
    wait_state(desktop, "crashed")
    assert "Nothing in the guest is lost" in desktop.locator("#veil").inner_text()
    desktop.click("#again")
    wait_state(desktop, "connected")
    web.until_shown(desktop, "web-started-anew.png", mark, 20_000)


@contextmanager
def rdp_server(guest: Console, trouble: str, cure: str) -> Iterator[None]:
    """The guest's RDP server in trouble, and well again after."""
    guest.run(trouble)
    try:
        yield
    finally:
        guest.run(cure)
        guest.run("until grep -q ':0D3D 0*:0000 0A ' /proc/net/tcp /proc/net/tcp6; do sleep 0.3; done")


# What stands in for the RDP server; SO_LINGER with 0 s makes close(2) a reset.
TROUBLES = {
    "absent": "",
    "resetting": "c.recv(9); c.setsockopt(1, 13, struct.pack('ii', 1, 0)); c.close()",
    "babbling": "c.recv(9); c.sendall(b'SSH-2.0-OpenSSH_9.9' * 9); c.close()",
    "hanging": "held.append(c)",
}


def stand_in(behaviour: str) -> str:
    """The command that puts it there."""
    program = f"""
import socket, struct
held = []
s = socket.create_server(("", 3389), reuse_port=True)
while True:
    c, _ = s.accept()
    {behaviour}
"""
    code = base64.b64encode(program.encode()).decode()
    return f"echo {code} | base64 -d > /tmp/7t-rdp.py; (setsid python3 /tmp/7t-rdp.py >/tmp/7t-rdp.log 2>&1 &)"


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_bad_rdp_server_in_the_guest_is_told_and_tried_again(
    demo: Session, guest: Console, new_visitor: NewVisitor, trouble: str
) -> None:
    behaviour = TROUBLES[trouble]
    begin = "sudo systemctl stop 7lbd-rdp" + (f"; {stand_in(behaviour)}" if behaviour else "")
    visitor = new_visitor(web.url(demo))
    with rdp_server(guest, begin, "pkill -f 7t-rdp.py; sudo systemctl start 7lbd-rdp"):
        page = log_in(visitor, demo, to="desktop")
        page.locator("#veil", has_text="does not answer").wait_for()
        page.wait_for_selector("#veil-native")
        # It tries again and again; meanwhile it stays told, with the way out.
        page.wait_for_timeout(2000)
        assert "does not answer" in page.locator("#veil").inner_text()
        assert page.locator("#veil-native").is_visible()
    wait_state(page, "connected")


def test_a_wrong_guest_password_is_told_once_and_not_tried_for_ever(
    demo: Session, guest: Console, new_visitor: NewVisitor
) -> None:
    sam = "/var/lib/demo-guest/sam"
    visitor = new_visitor(web.url(demo))
    with rdp_server(
        guest,
        f"sudo cp -p {sam} /tmp/7t-sam && sudo sed -i 's/:::[0-9a-f]*:::/:::{'1f' * 16}:::/' {sam}",
        f"sudo cp -p /tmp/7t-sam {sam}; sudo rm /tmp/7t-sam",
    ):
        page = log_in(visitor, demo, to="desktop")
        wait_state(page, "refused")
        assert "password" in page.locator("#veil").inner_text()
        sockets: list[str] = []
        page.on("websocket", lambda opened: sockets.append(opened.url))
        page.wait_for_timeout(4000)
        assert not sockets, "wrong passwords lock accounts"
    page.click("#again")
    wait_state(page, "connected")


def test_a_paused_machine_loses_nobody_and_no_key(demo: Session, guest: Console, desktop: Page) -> None:
    machine = demo.pid_of("qemu-system-x86_64")
    with listener(guest) as notes:
        os.kill(machine, signal.SIGSTOP)
        try:
            web.type_text(desktop, "x")
            desktop.wait_for_timeout(4000)
            assert web.state(desktop) == "connected"
        finally:
            os.kill(machine, signal.SIGCONT)
        web.type_text(desktop, "y")
        until("both keys", lambda: keys(notes("KeyPress")) == ["x", "y"])
