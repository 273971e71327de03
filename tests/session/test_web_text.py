"""Text that is composed: by dead keys, by an input method, by the keyboard on a phone's screen.

The demo guest's server takes no letters, so what the page sends is read on its line.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import pytest
import web
from harness import Session
from playwright.sync_api import Browser, CDPSession, Page
from web import log_in, until, wait_state

# [MS-RDPBCGR] 2.2.8.1.2 and 2.2.8.1.2.2: a Client Fast-Path Input Event PDU, and its events' lengths by their code.
_LENGTHS = {0: 2, 1: 7, 2: 7, 3: 1, 4: 3, 5: 7, 6: 5}
_SCANCODE, _UNICODE, _RELEASE = 0, 4, 1
_NAMES = {0x0E: "<back>", 0x1C: "<enter>"}
_SENT = (
    "window.sent = []; let noted = Promise.resolve(); const send = WebSocket.prototype.send;"
    " WebSocket.prototype.send = function (data) {"
    " if (typeof data !== 'string') noted = noted.then(async () => {"
    " sent.push(Array.from(new Uint8Array(await new Blob([data]).arrayBuffer())).join(' ')); });"
    " return send.call(this, data); };"
)
"""A page's script that notes what goes over its lines."""


def typed(messages: list[bytes]) -> str:
    """The letters that were pressed, and the keys that matter by name."""
    found = ""
    for message in messages:
        for code, flags, value in _events(message):
            if flags & _RELEASE:
                continue
            if code == _UNICODE:
                found += chr(value)
            elif code == _SCANCODE:
                found += _NAMES.get(value, f"<{value:02x}>")
    return found


def _events(message: bytes) -> Iterator[tuple[int, int, int]]:
    """Code, flags and value of each event; nothing when it is no input."""
    if len(message) < 3 or message[0] & 0xC3:
        return
    at, length = (3, (message[1] & 0x7F) << 8 | message[2]) if message[1] & 0x80 else (2, message[1])
    if length != len(message):
        return
    count = message[0] >> 2 & 0xF
    if not count:
        count, at = message[at], at + 1
    for _ in range(count):
        code, flags = message[at] >> 5, message[at] & 0x1F
        size = _LENGTHS[code]
        value = struct.unpack_from("<H", message, at + 1)[0] if code == _UNICODE else message[at + 1] if size > 1 else 0
        yield code, flags, value
        at += size


def text_of(page: Page) -> str:
    """What the page has sent since it was asked last."""
    noted: list[str] = page.evaluate("() => sent.splice(0)")
    return typed([bytes(map(int, line.split())) for line in noted])


@pytest.fixture(scope="module")
def page(chromium: Browser, demo: Session) -> Iterator[Page]:
    yield from _typing(chromium, demo)


@pytest.fixture(scope="module")
def phone(chromium: Browser, demo: Session) -> Iterator[Page]:
    yield from _typing(chromium, demo, has_touch=True, is_mobile=True)


def _typing(chromium: Browser, demo: Session, **options: Any) -> Iterator[Page]:
    visitors = web.visitors(chromium, "text", **options)
    visitor = next(visitors)(web.url(demo))
    visitor.context.add_init_script(_SENT)
    made = log_in(visitor, demo, to="desktop")
    wait_state(made, "connected")
    made.wait_for_timeout(2000)
    wait_state(made, "connected")
    made.click("#menu-button")
    made.click("#keys")
    yield made
    next(visitors, None)


def composing(page: Page) -> CDPSession:
    """An input method's place in Chromium."""
    text_of(page)
    return page.context.new_cdp_session(page)


def compose(method: CDPSession, text: str) -> None:
    method.send("Input.imeSetComposition", {"text": text, "selectionStart": len(text), "selectionEnd": len(text)})


def comes(page: Page, expected: str) -> None:
    """That, and nothing more."""
    got = ""

    def is_there() -> bool:
        nonlocal got
        got += text_of(page)
        return len(got) >= len(expected)

    until(f"{expected!r} on the line", is_there, 60, page)
    page.wait_for_timeout(500)
    assert got + text_of(page) == expected


def test_what_an_input_method_composes_is_typed_when_it_is_whole(page: Page) -> None:
    method = composing(page)
    for text in ("n", "ni", "你", "你好"):
        compose(method, text)
    comes(page, "")  # first tries are nobody's to see
    method.send("Input.insertText", {"text": "你好"})
    comes(page, "你好")
    for key in ("a", "Enter", "Backspace"):
        page.keyboard.press(key)
    comes(page, "a<enter><back>")


def test_a_composition_that_is_given_up_types_nothing(page: Page) -> None:
    method = composing(page)
    compose(method, "ni")
    compose(method, "")
    page.keyboard.press("b")
    comes(page, "b")


# In which order browsers tell a composition's end (W3C, UI Events 5.2.2, and its notes): Chromium's is tried above.
_ENDS = {
    "Firefox": "tell('compositionend', CompositionEvent); tell('input', InputEvent);",
    "Safari": "tell('input', InputEvent); tell('compositionend', CompositionEvent);",
}


@pytest.mark.parametrize("browser", _ENDS)
def test_no_letter_comes_twice_in_whatever_order_a_compositions_end_is_told(page: Page, browser: str) -> None:
    """By made-up events: no input method is to be had in another browser here."""
    text_of(page)
    page.evaluate(
        "() => { const field = document.querySelector('#typing');"
        " const tell = (kind, made) => field.dispatchEvent(new made(kind, { bubbles: true, data: 'é',"
        " inputType: 'insertCompositionText', isComposing: false }));"
        f" tell('compositionstart', CompositionEvent); field.value += 'é'; {_ENDS[browser]} }}"
    )
    comes(page, "é")


def test_on_a_phone_a_word_is_seen_as_it_grows_and_as_it_is_mended(phone: Page) -> None:
    method = composing(phone)
    for text in ("t", "te", "teh"):
        compose(method, text)
    comes(phone, "teh")
    method.send("Input.insertText", {"text": "the"})
    comes(phone, "<back><back>he")
    phone.keyboard.press("Backspace")
    phone.keyboard.press(" ")
    comes(phone, "<back> ")


def test_what_a_phones_word_was_no_letter_of_is_not_erased_with_it(phone: Page) -> None:
    """Control and C, and a keyboard that thinks better of its c."""
    method = composing(phone)
    phone.tap("#touch-bar [data-code=ControlLeft]")
    compose(method, "c")
    comes(phone, "<1d><2e>")
    compose(method, "x")
    comes(phone, "x")
    method.send("Input.insertText", {"text": "x"})
    comes(phone, "")
