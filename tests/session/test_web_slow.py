"""The page on a bad line: how much it fetches, in how many pieces, and what it says meanwhile."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import web
from harness import Session
from playwright.sync_api import Page, Request
from slow_line import slow_line
from web import NewVisitor, log_in, until, wait_state

# The line alone takes 31 s for all that is needed; the rest is this machine, which emulates the guest, too.
FIRST_SECONDS = 180.0
AGAIN_BYTES = 400_000
MOST_REQUESTS = 25


def requests_of(page: Page) -> Callable[[], list[str]]:
    """What the page asks for from now on."""
    asked: list[str] = []

    def note(request: Request) -> None:
        asked.append(request.url)

    page.on("request", note)
    page.on("websocket", lambda socket: asked.append(socket.url))
    return lambda: asked


def test_the_desktop_comes_over_a_slow_line_with_a_bar_and_again_without_the_client(
    demo: Session, new_visitor: NewVisitor
) -> None:
    with slow_line(web.url(demo)) as line:
        visitor = new_visitor(line.address)
        page = visitor.context.new_page()
        began = time.monotonic()
        page.goto(f"{line.address}#token={web.token(demo)}&to=desktop", wait_until="commit")
        page.wait_for_selector("body[data-page=desktop]", state="attached")
        shown = [until("the bar", lambda: progress(page), page=page)]
        web.shot(page, "web-download.png")
        page.wait_for_timeout(3000)
        shown.append(progress(page))
        assert 0 < shown[0][0] < shown[1][0] < shown[1][1]
        # What is on the line, not what comes out of it.
        assert 400_000 < shown[0][1] < 600_000
        assert re.fullmatch(r"0\.\d of 0\.5 MB", page.locator("#download-text").inner_text())
        wait_state(page, "connected", seconds=FIRST_SECONDS)
        first, bytes_first = time.monotonic() - began, line.received
        assert page.locator("#download").is_hidden()
        assert first < FIRST_SECONDS
        page.close()
        page = visitor.context.new_page()
        lines: list[str] = []
        page.on("websocket", lambda socket: lines.append(socket.url))
        questions: list[Any] = []
        page.on("request", lambda each: questions.append(each.post_data_json) if each.method == "POST" else None)
        began, before = time.monotonic(), line.received
        page.goto(f"{line.address}desktop", wait_until="commit")
        wait_state(page, "connected")
        again = time.monotonic() - began
        # The page without a question, and the client's first words with the line's address: they were the right ones.
        assert page.evaluate("() => performance.getEntriesByType('navigation')[0].transferSize") == 0
        assert len(lines) == 1, lines
        assert "&hello=" in lines[0]
        # The same is told with the question for the secret, so that the gateway begins before the line is there.
        assert f"&ask={questions[0]['ask']}&" in lines[0]
        assert line.received - before < AGAIN_BYTES, "it was fetched again"
        print(f"first {first:.1f} s, {bytes_first} bytes; again {again:.1f} s, {line.received - before} bytes")


def progress(page: Page) -> tuple[int, ...]:
    """Bytes that are there, and all of them; nothing while there is no bar."""
    script = "() => { const bar = document.querySelector('#download-bar'); return [bar?.value ?? 0, bar?.max ?? 0]; }"
    done, total = page.evaluate(script)
    return (done, total) if done else ()


def test_no_page_asks_for_more_than_a_few_things(demo: Session, new_visitor: NewVisitor) -> None:
    for name, state in (("", ""), ("desktop", "connected"), ("console", "connected"), ("native", "")):
        page = log_in(new_visitor(web.url(demo)), demo)
        asked = requests_of(page)
        page.goto(web.url(demo) + name)
        if state:
            wait_state(page, state)
        page.wait_for_timeout(1000)
        assert 3 < len(asked()) <= MOST_REQUESTS, (name, asked())


def test_the_client_is_compiled_while_it_comes(demo: Session, new_visitor: NewVisitor) -> None:
    visitor = new_visitor(web.url(demo))
    visitor.context.add_init_script(
        "const real = WebAssembly.instantiateStreaming; window.streamed = 0;"
        "WebAssembly.instantiateStreaming = async (...given) => {"
        " const made = await real.apply(WebAssembly, given); window.streamed++; return made; };"
    )
    page = log_in(visitor, demo, to="desktop")
    wait_state(page, "connected")
    assert page.evaluate("() => window.streamed") == 1


def test_the_rest_of_the_client_comes_behind_the_picture_or_the_page_begins_anew_with_it(
    demo: Session, new_visitor: NewVisitor
) -> None:
    for called in (False, True):
        visitor = new_visitor(web.url(demo))
        visitor.context.add_init_script(web.KEEPS_CLIENT)
        page = log_in(visitor, demo)
        asked = requests_of(page)
        page.goto(web.url(demo) + "desktop")
        wait_state(page, "connected")
        assert page.evaluate("() => client['7lbd-apart'].value") == 1
        if called:
            # Nothing of ours makes an RDP file by the client, so no profile has it.
            page.evaluate("() => { setTimeout(() => client.rdpfile_create()); }")
        page.wait_for_function("() => globalThis.client?.['7lbd-apart'].value === 0")
        wait_state(page, "connected")
        assert page.evaluate("() => client.rdpfile_create() > 0")
        assert sum("client-rest" in address for address in asked()) == 1
        page.close()
