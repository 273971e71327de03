"""python -m tests.bench.client_profile: which functions of the RDP client a visit runs, as JSON for the build.

By scripts/profile-client, when the client is another. Debian's Chromium and the demo guest: log-in, picture, keys,
mouse, clipboard, text, another size, a connection taken over, late and at once. What is not met here is in the client's
second part.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

from playwright.sync_api import BrowserContext, Page, Route, sync_playwright

from tests.session.harness import DEMO, REPO

from .page import _ARGUMENTS, _shown, _way_in
from .sessions import started

sys.path.append(str(REPO / "scripts"))
from sifbuild import wasm  # of the build, which has a path of its own

VENDOR = REPO / "build" / "web" / "assets" / "vendor" / "ironrdp"
_KEEP_INSTANCE = """for (const name of ["instantiateStreaming", "instantiate"]) {
    const real = WebAssembly[name];
    WebAssembly[name] = async (...given) => { const made = await real.apply(WebAssembly, given);
        window.made ??= made.instance; return made; };
}"""
_RAN = """() => Object.entries(window.made.exports).filter(([name, flag]) => /^f[0-9]+$/.test(name) && flag.value)
    .map(([name]) => Number(name.slice(1)))"""
_LOOK = 2000.0  # a guess, in milliseconds: what the guest takes to answer


def visit(context: BrowserContext, address: str, url: str) -> set[int]:
    """Does what people do on a desktop; the functions that ran."""
    early = context.new_page()
    early.goto(address, wait_until="commit")
    while not _shown(early):
        early.wait_for_timeout(50)
    page = context.new_page()
    page.goto(f"{url}desktop", wait_until="commit")
    while not _shown(page):
        page.wait_for_timeout(50)
    page.wait_for_timeout(_LOOK)
    _use(page)
    second = context.new_page()
    second.goto(f"{url}desktop")
    second.wait_for_selector("body[data-state=connected]")
    second.wait_for_timeout(_LOOK)
    return {number for each in (early, page, second) for number in each.evaluate(_RAN)}


def _use(page: Page) -> None:
    for x, y, button in ((600, 300, "left"), (400, 400, "right"), (700, 700, "left")):
        page.mouse.click(x, y, button=button)  # type: ignore[arg-type]  # a Literal's
    page.mouse.wheel(0, 100)
    page.keyboard.press("Control+Alt+t")
    page.wait_for_timeout(_LOOK)
    page.keyboard.type("ls /\n")
    page.evaluate("() => navigator.clipboard.writeText('Grüße')")
    page.evaluate("() => { for (const name of ['blur', 'focus']) window.dispatchEvent(new Event(name)); }")
    for keys in ("Control+Shift+v", "Control+v"):
        page.keyboard.press(keys)
        page.wait_for_timeout(_LOOK)
    page.mouse.dblclick(300, 300)
    page.keyboard.press("Control+Shift+c")
    page.keyboard.press("Control+Alt+Home")
    page.click("#keys")
    page.locator("#typing").focus()
    page.keyboard.insert_text("äöü€")
    page.keyboard.press("Control+Alt+Home")
    page.click("#cad")
    page.set_viewport_size({"width": 1000, "height": 700})
    page.wait_for_timeout(3 * _LOOK)


def main() -> None:
    """Prints the profile."""
    module = (VENDOR / "iron-remote-desktop-rdp.wasm").read_bytes()
    counting = wasm.counting(module)
    facts = json.loads(Path(REPO / "build" / "web" / "packages.json").read_text())
    name = "@devolutions/iron-remote-desktop-rdp"

    def serve(route: Route) -> None:
        route.fulfill(body=counting, content_type="application/wasm")

    with started(DEMO) as timed, sync_playwright() as playwright:
        timed.phase("ready")
        url, token = _way_in(timed.session)
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", chromium_sandbox=True, args=_ARGUMENTS
        )
        with browser.new_context(
            viewport={"width": 1280, "height": 800}, permissions=["clipboard-read", "clipboard-write"]
        ) as context:
            context.add_init_script(_KEEP_INSTANCE)
            context.route("**/client-first-*.wasm", serve)
            ran = visit(context, f"{url}#token={token}&to=desktop", url)
        browser.close()
    digest = hashlib.sha256(module).hexdigest()
    print(json.dumps({"package": f"{name} {facts[name]}", "sha256": digest, "ran": wasm.ranged(ran)}, indent=2))


if __name__ == "__main__":
    main()
