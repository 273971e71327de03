"""The pages behind a portal: a real Apache with Open OnDemand's rules, under both of its prefixes."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import harness
import ondemand
import pytest
import web
import wire
from conftest import StartSession
from harness import Session
from ondemand import Portal
from pictures import is_a_desktop
from playwright.sync_api import Page
from web import NewVisitor, until, wait_state

PREFIXES = ("node", "rnode")


@pytest.fixture(scope="module")
def portal(work: Path) -> Iterator[Portal]:
    with ondemand.running(work / "portal") as made:
        yield made


@pytest.fixture(scope="module")
def demo(work: Path, portal: Portal) -> Iterator[Session]:
    """A desktop whose site has listed the portal: without that a portal's word counts for nothing."""
    session = harness.start("--image", str(harness.DEMO), "--portal", portal.origin, base=work / "listed")
    try:
        session.wait_phase("ready", 600)
        yield session
    finally:
        session.kill()


def path_of(session: Session, prefix: str) -> str:
    """Where the portal shows the session."""
    return f"/{prefix}/localhost/{urlsplit(web.url(session)).port}/"


def from_card(page: Page, portal: Portal, session: Session, prefix: str) -> Page:
    """A click on the portal's card opens the session in a tab of its own."""
    page.goto(portal.card(path_of(session, prefix) + "login", web.token(session)))
    with page.context.expect_page() as opened:
        page.click("button")
    opened.value.wait_for_selector("body[data-page=status]")
    return opened.value


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_portals_card_opens_status_desktop_and_console(
    demo: Session, portal: Portal, new_visitor: NewVisitor, prefix: str
) -> None:
    visitor, here = new_visitor(portal.origin), path_of(demo, prefix)
    paths: set[str] = set()
    visitor.context.on("request", lambda request: paths.add(urlsplit(request.url).path))
    page = from_card(visitor.open("about:blank"), portal, demo, prefix)
    assert page.url == portal.origin + here
    until("the live status", lambda: page.locator("body").get_attribute("data-link") == "live", page=page)
    page.wait_for_selector("#to-desktop[href]")
    [cookie] = visitor.context.cookies()
    assert (cookie["path"], cookie["secure"], cookie["httpOnly"]) == (here.rstrip("/"), True, True)
    page.click("#to-console")
    wait_state(page, "connected")
    until("the screen", lambda: web.picture(page).guest_width >= 640, page=page)
    page.goto(portal.origin + here + "native")
    until("the tunnel", lambda: "ssh -L" in page.locator("#ssh").inner_text(), page=page)
    page.goto(portal.origin + here)
    page.click("#to-desktop")
    wait_state(page, "connected")
    until("a desktop", lambda: is_a_desktop(web.shot(page, f"web-{prefix}.png")), page=page)
    page.goto(portal.origin + here)
    page.click("text=Log out")
    page.wait_for_selector("body[data-page=login]")
    assert {path for path in paths if not path.startswith(here)} <= {"/card.html", "blank", "/favicon.ico"}
    assert web.token(demo) not in portal.logs()
    assert demo.password() not in portal.logs()


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("end", ["", "/"])
def test_the_link_with_its_fragment_works_behind_the_portal_and_needs_no_slash(
    demo: Session, portal: Portal, new_visitor: NewVisitor, end: str, prefix: str
) -> None:
    """Of the prefix that the portal takes off, only the browser can tell whether it had a slash."""
    address = portal.origin + path_of(demo, prefix)
    visitor = new_visitor(portal.origin)
    page = visitor.open(f"{address.rstrip('/')}{end}#token={web.token(demo)}")
    page.wait_for_selector("body[data-page=status]")
    until("the live status", lambda: page.locator("body").get_attribute("data-link") == "live", page=page)
    assert page.url == address
    page.goto(f"{address.rstrip('/')}{end}")  # with the cookie, which is for what is below the prefix
    until("the live status", lambda: page.locator("body").get_attribute("data-link") == "live", page=page)
    assert page.url == address
    # What the page named before it knew better is not there.
    visitor.complaints[:] = [words for words in visitor.complaints if "404" not in words and "MIME" not in words]


def test_a_cookie_of_one_prefix_is_not_sent_to_another_app(
    demo: Session, portal: Portal, new_visitor: NewVisitor
) -> None:
    visitor = new_visitor(portal.origin)
    page = from_card(visitor.open("about:blank"), portal, demo, "node")
    page.goto(portal.origin + path_of(demo, "rnode"))
    page.wait_for_selector("body[data-page=login]")


# The stream of events of a page, which a network that changes breaks; the desktop's line may live on.
_KEEPS_STREAM = (
    "const Real = EventSource; window.EventSource = class extends Real {"
    " constructor(...given) { super(...given); window.stream = this; } };"
)
_BREAKS_STREAM = "() => { stream.close(); stream.dispatchEvent(new Event('error')); }"


@pytest.mark.parametrize("kind", ["401", "302"])
def test_a_portals_log_in_that_is_over_is_called_that_and_costs_no_desktop(
    demo: Session, portal: Portal, new_visitor: NewVisitor, kind: str
) -> None:
    visitor, here = new_visitor(portal.origin), portal.origin + path_of(demo, "node")
    visitor.context.add_init_script(_KEEPS_STREAM)
    status = from_card(visitor.open("about:blank"), portal, demo, "node")
    page = visitor.open(here + "desktop")
    wait_state(page, "connected")
    seen = web.states_from_now_on(page)
    with portal.logged_out(kind):
        for each in (page, status):
            each.evaluate(_BREAKS_STREAM)
        page.wait_for_selector("body[data-line=silent]")
        assert "wants a new log-in" in page.locator("#silence").inner_text()
        status.wait_for_selector("body[data-link=portal]")
        assert "The portal wants a new log-in" in status.locator("#link").inner_text()
        web.shot(page, f"web-portal-{kind}.png")
        web.shot(status, f"web-portal-status-{kind}.png")
        status.click("#link a")
        until("the portal's form", lambda: status.title() == "Log in to the portal", page=status)
    page.wait_for_selector("body[data-line=live]")
    assert page.locator("#silence").is_hidden()
    assert (seen(), web.state(page)) == ([], "connected")


@pytest.mark.parametrize("kind", ["401", "302"])
def test_a_page_that_the_browser_kept_leads_to_the_portals_log_in_and_back(
    demo: Session, portal: Portal, new_visitor: NewVisitor, kind: str
) -> None:
    visitor, here = new_visitor(portal.origin), portal.origin + path_of(demo, "rnode")
    page = from_card(visitor.open("about:blank"), portal, demo, "rnode")
    page.goto(here + "desktop")
    wait_state(page, "connected")
    with portal.logged_out(kind):
        page.goto(here + "desktop")
        until("the portal's form", lambda: page.title() == "Log in to the portal", page=page)
    page.goto(here + "desktop")
    wait_state(page, "connected")


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_foreign_origin_opens_no_websocket_through_the_portal(demo: Session, portal: Portal, prefix: str) -> None:
    address, place = portal.origin + path_of(demo, prefix), f"127.0.0.1:{portal.port}"
    key = wire.log_in(address, web.token(demo), place=place).headers["set-cookie"].partition(";")[0]
    for path in ("ws/console", "ws/rdp?tab=x"):
        for origin, status in (
            (portal.origin, 101),
            ("https://evil.example.org", 403),
            (f"https://{ondemand.NAME}:1", 403),
            ("null", 403),
            ("", 403),
        ):
            answer = wire.ask("GET", address + path, wire.handshake(origin, key), place=place)
            assert answer.status == status, (path, origin, answer)
    for origin, status in (("https://evil.example.org", 403), (portal.origin, 303)):
        given = {"Origin": origin, "Cookie": key}
        assert wire.log_in(address, web.token(demo), given, place).status == status


def test_a_site_that_lists_its_portals_is_reached_by_no_other_name(
    start: StartSession, blank_image: Path, portal: Portal, new_visitor: NewVisitor
) -> None:
    session = start("--image", str(blank_image), "--portal", portal.origin)
    session.wait_phase("booting")
    page = from_card(new_visitor(portal.origin).open("about:blank"), portal, session, "node")
    page.click("#to-console")
    wait_state(page, "connected")
    here = web.url(session)
    port = urlsplit(here).port
    for given, status in (
        ({}, 200),
        ({"Host": f"localhost:{port}"}, 200),
        ({"Host": f"rebound.example.org:{port}"}, 421),
        ({"Host": f"rebound.example.org:{port}", "X-Forwarded-Host": ondemand.NAME}, 421),
        ({"X-Forwarded-Host": "rebound.example.org"}, 421),
        ({"X-Forwarded-Host": f"rebound.example.org, {ondemand.NAME}:{portal.port}"}, 200),
        ({"Host": ""}, 421),
    ):
        assert wire.ask("GET", here, given).status == status, given
    key = wire.cookie(here, web.token(session))
    for origin, status in ((portal.origin, 101), ("https://other.example.edu", 403), (here.rstrip("/"), 101)):
        assert wire.ask("GET", f"{here}ws/console", wire.handshake(origin, key)).status == status, origin
    session.send(signal.SIGTERM)
    session.wait_end()


def test_a_rebound_name_gets_nothing_in_a_real_browser(
    start: StartSession, blank_image: Path, portal: Portal, new_visitor: NewVisitor
) -> None:
    session = start("--image", str(blank_image), "--portal", portal.origin)
    address = f"http://rebound.example.org:{urlsplit(web.url(session)).port}/"
    visitor = new_visitor(address)
    page = visitor.open(address)
    assert "not reached by that name" in page.locator("body").inner_text()
    # Chromium has no use for that header where there is neither HTTPS nor this computer, and says so.
    assert all("Cross-Origin-Opener-Policy" in words for words in visitor.complaints)
    visitor.complaints.clear()
    session.send(signal.SIGTERM)
    session.wait_end()
