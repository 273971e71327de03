"""From the call of a session's page to the desktop's picture in it: Debian's Chromium, the demo guest, which is ready.

First as a newcomer by the printed link, nothing cached: key, cookie, page, WebAssembly, RDP with network-level
authentication, the first picture. Then again with what the browser has kept, on disk as a user's does: a private window
keeps no compiled scripts, and takes a tenth longer. Chromium itself is already running.
The same over a slow line (tests/session/slow_line.py), in turns with a browser that takes gzip only.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from tempfile import TemporaryDirectory
from typing import Any

from playwright.sync_api import BrowserContext, BrowserType, Page, sync_playwright

from tests.session.harness import DEMO, Session
from tests.session.slow_line import slow_line

from .measure import Bench
from .sessions import started

LIMIT = 3.0
KBIT, MILLISECONDS = 300.0, 300.0  # the slow line's: a mobile network at its edge
SLOW_LIMIT, SLOW_AGAIN_LIMIT = 35.0, 3.0
_ARGUMENTS = ["--disable-gpu", "--disable-background-networking", "--disable-component-update", "--no-first-run"]
_POLL_SECONDS = 0.01
_PATIENCE = 120.0
# A picture has many colours, once it is there; looked at in small, which costs little.
_PICTURE = """() => {
    const canvas = document.querySelector("#stage canvas");
    if (!canvas || document.body.dataset.state !== "connected") return false;
    const small = new OffscreenCanvas(48, 27).getContext("2d");
    small.drawImage(canvas, 0, 0, 48, 27);
    return new Set(new Uint32Array(small.getImageData(0, 0, 48, 27).data.buffer)).size > 4;
}"""
_MARKS = "() => performance.getEntriesByType('mark').map((mark) => [mark.name, mark.startTime / 1000])"


def run(bench: Bench) -> None:
    """One ready session, visited again and again."""
    bench.tell("booting the demo guest")
    with started(DEMO) as timed, sync_playwright() as playwright:
        timed.phase("ready")
        chromium = playwright.chromium
        taken = bench.in_turns({"visits": lambda: _visits(chromium, timed.session)}, bench.rounds(9, 3))["visits"]
        kinds = {kind: partial(_slow_visits, chromium, timed.session, kind) for kind in ("br", "gzip")}
        slow = bench.in_turns(kinds, bench.rounds(3, 1))
    _add_slow(bench, slow["br"], slow["gzip"])
    cold, warm = ([visit[which] for visit in taken] for which in (0, 1))
    bench.add("link to picture, nothing cached", "s", [visit[0] for visit in cold], limit=LIMIT)
    bench.add("  of that the page, before it connects", "s", [visit[1] for visit in cold])
    bench.add("page to picture, again", "s", [visit[0] for visit in warm], limit=LIMIT)
    bench.add("  of that the page, before it connects", "s", [visit[1] for visit in warm])


@dataclass(frozen=True)
class SlowVisits:
    """Seconds to the picture, of that to the beginning of its connection, and bytes to the browser: first and again."""

    first: tuple[float, float, int]
    again: tuple[float, float, int]


def _add_slow(bench: Bench, brotli: list[SlowVisits], gzip: list[SlowVisits]) -> None:
    line = f"{KBIT:.0f} kbit/s, {MILLISECONDS:.0f} ms"
    first, others = [each.first for each in brotli], [each.first for each in gzip]
    again = [each.again for each in brotli]
    bench.add(f"{line}: link to picture, nothing cached", "s", [each[0] for each in first], limit=SLOW_LIMIT)
    bench.add("  of that the page, before it connects", "s", [each[1] for each in first])
    bench.add("  to the browser", "kB", [each[2] / 1000 for each in first])
    bench.add("  page to picture, again", "s", [each[0] for each in again], limit=SLOW_AGAIN_LIMIT)
    bench.add("  of that the page, before it connects", "s", [each[1] for each in again])
    bench.add("  to the browser, again", "kB", [each[2] / 1000 for each in again])
    bench.compare("  bytes, gzip only against brotli", [each[2] for each in others], [each[2] for each in first])
    bench.compare("  time, gzip only against brotli", [each[0] for each in others], [each[0] for each in first])
    least = [each[2] * 8 / (KBIT * 1000) for each in first]
    bench.compare("  time, against what the bytes alone take", [each[0] for each in first], least)


@contextmanager
def _newcomer(chromium: BrowserType, **options: Any) -> Iterator[BrowserContext]:
    """A browser that has been nowhere, with a profile of its own."""
    with (
        TemporaryDirectory(ignore_cleanup_errors=True) as profile,  # the browser's processes end a little later
        chromium.launch_persistent_context(
            profile,
            executable_path="/usr/bin/chromium",
            chromium_sandbox=True,
            args=_ARGUMENTS,
            viewport={"width": 1280, "height": 800},
            **options,
        ) as context,
    ):
        yield context


def _slow_visits(chromium: BrowserType, session: Session, coding: str) -> SlowVisits:
    """The two visits over the slow line, by a browser that takes this coding; none takes brotli alone."""
    url, token = _way_in(session)
    accepted = {"Accept-Encoding": "gzip, br" if coding == "br" else "gzip"}
    with (
        slow_line(url, KBIT, MILLISECONDS) as line,
        _newcomer(chromium, extra_http_headers=accepted) as context,
    ):
        first = _visit(context.new_page(), f"{line.address}#token={token}&to=desktop")
        between = line.received
        again = _visit(context.new_page(), f"{line.address}desktop")
        return SlowVisits((*first, between), (*again, line.received - between))


def _way_in(session: Session) -> tuple[str, str]:
    """The page's address, and the key to the desktop."""
    url = json.loads((session.folder / "session.json").read_text())["url"]
    return url, json.loads((session.folder / "credentials.json").read_text())["tokens"]["desktop"]


def _visits(chromium: BrowserType, session: Session) -> tuple[tuple[float, float], tuple[float, float]]:
    """Seconds to the picture, and to the beginning of its connection: a newcomer's, and somebody's who comes again."""
    url, token = _way_in(session)
    with _newcomer(chromium) as context:
        cold = _visit(context.new_page(), f"{url}#token={token}&to=desktop")
        warm = _visit(context.new_page(), f"{url}desktop")
    return cold, warm


def _visit(page: Page, address: str) -> tuple[float, float]:
    began = time.time()
    page.goto(address, wait_until="commit")
    while not _shown(page):
        assert time.time() < began + _PATIENCE, f"no picture: {page.locator('body').inner_text()}"
        time.sleep(_POLL_SECONDS)
    seconds = time.time() - began
    marks = dict(page.evaluate(_MARKS))
    connecting = page.evaluate("() => performance.timeOrigin / 1000") + marks["7lbd-connect"] - began
    page.close()
    return seconds, connecting


def _shown(page: Page) -> bool:
    try:
        return bool(page.evaluate(_PICTURE))
    except Exception:
        # The login page gives way to the desktop's while it is asked.
        return False
