"""The session's page in a real browser: Debian's Chromium, driven by Playwright, seen by its DOM and its pixels."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from harness import KEPT, PATIENCE, Session
from pictures import Colour, pixels_like
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, Request, sync_playwright
from playwright.sync_api import Error as PlaywrightError

Role = Literal["desktop", "console", "status"]

# The client's own start-up talks to nobody, and our names lead to this machine: no test can leave it.
_ARGUMENTS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP *.example.edu 127.0.0.1, MAP *.example.org 127.0.0.1, "
    "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)
# What Chromium and the viewers write when a line or an answer is not as hoped; a test that breaks lines sees these.
_NETWORK = (
    *("Failed to load resource", "WebSocket connection to", "WebSocket is already in CLOSING", "net::ERR_"),
    # noVNC's, for a closed line only: it reports what it does not understand of the protocol in similar words.
    *("WebSocket on-error event", "Failed when connecting: Connection closed", "Unexpected server disconnect"),
    "Disconnection timed out.",
    "writer task ended unexpectedly",  # IronRDP
)
_ADVICE = "Canvas2D: Multiple readback operations"  # on noVNC's speed


@contextmanager
def chromium() -> Iterator[Browser]:
    """One browser for a module. Its sandbox is on: an ordinary user has the namespaces that Apptainer needs, too."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", chromium_sandbox=True, args=list(_ARGUMENTS)
        )
        yield browser
        browser.close()


def url(session: Session) -> str:
    """The page's address, without a key, as soon as the session tells it."""
    return str(_told(session, "session.json", "url"))


def token(session: Session, role: Role = "desktop") -> str:
    """The key for a role."""
    tokens: dict[str, str] = _told(session, "credentials.json", "tokens")
    return tokens[role]


def _told(session: Session, name: str, key: str) -> Any:
    """A value in a file of the session's folder, which is made in its first second."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with suppress(OSError, ValueError, KeyError):
            if found := json.loads((session.folder / name).read_text())[key]:
                return found
        time.sleep(0.05)
    raise AssertionError(f"there is no {key} in {name}:\n{session.story()}")


def link(session: Session, role: Role = "desktop") -> str:
    """What a user gets: the address with the key in its fragment."""
    return f"{url(session)}#token={token(session, role)}"


@dataclass
class Visitor:
    """One person's browser: a profile of its own, and all that its pages complained of."""

    context: BrowserContext
    home: str
    """The origin that all its requests may go to."""
    complaints: list[str] = field(default_factory=list)
    """Errors and warnings on the console, broken scripts, and requests to anybody else."""
    network: list[str] = field(default_factory=list)
    """What the browser said of broken lines and refusals."""

    def __post_init__(self) -> None:
        self.context.set_default_timeout(1000 * PATIENCE)
        self.context.on("console", self._on_console)
        self.context.on("weberror", lambda error: self.complaints.append(f"broke: {error.error}"))
        self.context.on("request", self._on_request)

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not message.text.startswith(_ADVICE):
            which = self.network if any(words in message.text for words in _NETWORK) else self.complaints
            which.append(f"{message.type}: {message.text}")

    def _on_request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob", "about") and f"{parts.scheme}://{parts.netloc}" != self.home:
            self.complaints.append(f"a request to {request.url}")

    def open(self, address: str) -> Page:
        """A new tab at this address."""
        page = self.context.new_page()
        page.goto(address)
        return page


KEEPS_CLIENT = (
    "const real = WebAssembly.instantiateStreaming; WebAssembly.instantiateStreaming = async (...given) => {"
    " const made = await real.apply(WebAssembly, given); window.client = made.instance.exports; return made; };"
)
"""A page's script that has the first part of the desktop's client as `client`."""


COUNTS_ANSWERS = (
    "window.answers = 0; window.WebSocket = new Proxy(WebSocket, { construct(...given) {"
    " const made = Reflect.construct(...given); made.addEventListener('message', (event) => {"
    " if (typeof event.data === 'string') window.answers++; }); return made; } });"
)
"""A page's script that counts the times that came back on its lines, as `answers`."""


NewVisitor = Callable[[str], Visitor]


def visitors(browser: Browser, test: str, **options: Any) -> Iterator[NewVisitor]:
    """For a fixture: makes visitors for an address; their pages must have complained of nothing in the end."""
    made: list[Visitor] = []

    def new(address: str) -> Visitor:
        parts = urlsplit(address)
        context = browser.new_context(viewport={"width": 1280, "height": 800}, ignore_https_errors=True, **options)
        made.append(Visitor(context, f"{parts.scheme}://{parts.netloc}"))
        return made[-1]

    yield new
    for visitor in made:
        for number, page in enumerate(visitor.context.pages):
            with suppress(PlaywrightError):
                shot(page, f"{test}-{number}.png")
        visitor.context.close()
    complaints = [words for visitor in made for words in visitor.complaints]
    assert not complaints, complaints


def until(what: str, found: Callable[[], Any], seconds: float = PATIENCE, page: Page | None = None) -> Any:
    """Whatever `found` gives, as soon as it is something. Events of `page` come through in between."""
    deadline = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s"
        if page:
            page.wait_for_timeout(50)
        else:
            time.sleep(0.05)
    return value


def log_in(visitor: Visitor, session: Session, role: Role = "desktop", to: str = "") -> Page:
    """By the link, to the status page or the one named."""
    page = visitor.open(link(session, role) + (f"&to={to}" if to else ""))
    page.wait_for_selector(f"body[data-page={to or 'status'}]")
    return page


def state(page: Page) -> str:
    """The page's own word for how it is: body's data-state."""
    return page.locator("body").get_attribute("data-state") or ""


def seen_after(page: Page, milliseconds: int, expression: str) -> Callable[[], Any]:
    """What the page is so long from now, by its own clock: on a busy machine that is late for what it shows, too."""
    then = f"new Promise((tell) => setTimeout(() => tell({expression}), {milliseconds}))"
    page.evaluate(f"() => {{ window.seenThen = {then}; }}")
    return lambda: page.evaluate("() => window.seenThen")


def states_from_now_on(page: Page) -> Callable[[], list[str]]:
    """Notes every state of the page: one may last no longer than a look takes."""
    page.evaluate(
        "() => { window.seenStates = [];"
        " new MutationObserver(() => window.seenStates.push(document.body.dataset.state))"
        ".observe(document.body, { attributeFilter: ['data-state'] }); }"
    )
    return lambda: list(page.evaluate("() => window.seenStates"))


def wait_state(page: Page, *wanted: str, seconds: float = PATIENCE) -> str:
    """The page's state, as soon as it is one of these."""
    choice = ", ".join(f"body[data-state={word}]" for word in wanted)
    try:
        page.wait_for_selector(choice, timeout=seconds * 1000)
    except Exception as error:
        shot(page, "state-not-reached.png")
        raise AssertionError(f"not {wanted} but {state(page)!r}: {page.locator('body').inner_text()}") from error
    return state(page)


def shot(page: Page, name: str) -> Image.Image:
    """What the page looks like, also kept in build/test-failures for people to look at."""
    KEPT.mkdir(parents=True, exist_ok=True)
    image = page.screenshot(path=KEPT / name, animations="disabled")
    return Image.open(io.BytesIO(image)).convert("RGB")


def until_shown(page: Page, name: str, colour: Colour, at_least: int, seconds: float = PATIENCE) -> Image.Image:
    """The screenshot, as soon as it shows enough of a colour."""
    deadline = time.monotonic() + seconds
    while True:
        image = shot(page, name)
        found = pixels_like(image, colour)
        if found >= at_least:
            return image
        assert time.monotonic() < deadline, f"{name} shows {found} pixels of {colour}, not {at_least}"
        page.wait_for_timeout(300)


def canvas(page: Page) -> Locator:
    """The guest's picture, wherever in the page's components it is."""
    return page.locator("#stage canvas").first


@dataclass(frozen=True)
class Picture:
    """Where the guest's picture stands in the page, and how large it is for the guest."""

    x: float
    y: float
    width: float
    height: float
    guest_width: int
    guest_height: int

    def point(self, x: int, y: int) -> tuple[float, float]:
        """The guest's point, in the page's coordinates."""
        return self.x + (x + 0.5) * self.width / self.guest_width, self.y + (y + 0.5) * self.height / self.guest_height


def picture(page: Page) -> Picture:
    """The guest's picture as it is shown now."""
    box = canvas(page).bounding_box()
    assert box, "no picture"
    size = canvas(page).evaluate("canvas => [canvas.width, canvas.height]")
    return Picture(box["x"], box["y"], box["width"], box["height"], *size)


# The client sends scan codes of a US keyboard, so Shift is pressed as a person would.
_SHIFTED = dict(zip('~!@#$%^&*()_+{}|:"<>?', "`1234567890-=[]\\;',./", strict=True))
_NAMED = {
    "`": "Backquote",
    "-": "Minus",
    "=": "Equal",
    "[": "BracketLeft",
    "]": "BracketRight",
    "\\": "Backslash",
    ";": "Semicolon",
    "'": "Quote",
    ",": "Comma",
    ".": "Period",
    "/": "Slash",
    " ": "Space",
    "\n": "Enter",
}


def _code(sign: str) -> str:
    """The name of the key with this sign on it (UI Events KeyboardEvent code values)."""
    if sign.isascii() and sign.isalnum():
        return f"Key{sign.upper()}" if sign.isalpha() else f"Digit{sign}"
    return _NAMED[sign]


def type_text(page: Page, text: str) -> None:
    """Press the keys for `text` one by one, at a quick typist's pace."""
    for sign in text:
        plain = _SHIFTED.get(sign, sign.lower())
        shifted = plain != sign
        if shifted:
            page.keyboard.down("ShiftLeft")
        page.keyboard.press(_code(plain), delay=15)
        if shifted:
            page.keyboard.up("ShiftLeft")
        page.wait_for_timeout(25)
