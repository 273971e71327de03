"""The page on a bad line: how much it fetches, in how many pieces, and what it says meanwhile."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import pytest
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


# What comes of RDP's channel connection (MS-RDPBCGR 1.3.1.1), by the page's clock; and a client that joins its channels
# itself: Client Core Data, earlyCapabilityFlags (2.2.1.3.2), without RNS_UD_CS_SUPPORT_SKIP_CHANNELJOIN.
HEARS = """
window.heard = [];
window.WebSocket = new Proxy(WebSocket, { construct(...given) {
  const made = Reflect.construct(...given);
  made.addEventListener('message', async ({ data }) => {
    const at = performance.now();
    const bytes = new Uint8Array(data instanceof Blob ? await data.arrayBuffer() : data);
    for (let start = 0; bytes[start] === 3 && start + 7 < bytes.length; ) {
      window.heard.push([bytes[start + 7], at]);
      start += (bytes[start + 2] << 8 | bytes[start + 3]) || bytes.length;
    }
  });
  return made;
} });
"""
JOINS_ITSELF = """
const send = WebSocket.prototype.send;
WebSocket.prototype.send = function (data) {
  if (data instanceof Uint8Array && data[7] === 0x7f && data[8] === 0x65) {
    const key = data.findIndex((_, at) => [0x44, 0x75, 0x63, 0x61].every((byte, place) => data[at + place] === byte));
    data[key + 6 + 144 + 1] &= ~0x08;
  }
  return send.call(this, data);
};
"""
RESPONSE, ATTACHED, JOINED = 0x7F, 0x2E, 0x3E  # T.125, by their first bytes


@pytest.mark.parametrize("joins", [False, True])
def test_the_guest_hears_what_leaves_no_choice_before_its_client_says_it(
    demo: Session, new_visitor: NewVisitor, joins: bool
) -> None:
    with slow_line(web.url(demo), kbit=10_000, milliseconds=1000) as line:
        visitor = new_visitor(line.address)
        visitor.context.add_init_script((JOINS_ITSELF if joins else "") + HEARS)
        page = visitor.open(f"{line.address}#token={web.token(demo)}&to=desktop")
        page.wait_for_selector("body[data-page=desktop]", state="attached")
        wait_state(page, "connected", seconds=FIRST_SECONDS)
        heard = page.evaluate("() => window.heard")
        first = next(place for place, (kind, _) in enumerate(heard) if kind == RESPONSE)
        expected = [RESPONSE, ATTACHED, *([JOINED, JOINED] if joins else [])]
        answers = heard[first : first + len(expected)]
        assert [kind for kind, _ in answers] == expected
        assert sum(kind == JOINED for kind, _ in heard) == len(expected) - 2
        # All on one way here: said by the client, each would be a round trip of a second later.
        assert answers[-1][1] - answers[0][1] < 900, answers
    # On a line that is not slow the client's own come while the guest still answers.
    visitor = new_visitor(web.url(demo))
    visitor.context.add_init_script((JOINS_ITSELF if joins else "") + HEARS)
    page = log_in(visitor, demo, to="desktop")
    wait_state(page, "connected")
    assert sum(kind == JOINED for kind, _ in page.evaluate("() => window.heard")) == len(expected) - 2
