"""The session's page in Firefox: Debian's own, spoken to by WebDriver BiDi, which it serves itself.

Playwright drives only a Firefox of its own making. BiDi (W3C, WebDriver BiDi) is JSON over one WebSocket.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
from harness import PATIENCE

_PROGRAM = "/usr/bin/firefox-esr"
_LISTENS = re.compile(r"WebDriver BiDi listening on (ws://\S+)")
_ANSWER_SECONDS = 60.0  # a navigation waits for the page, on a busy machine
# It talks to nobody but the pages, and asks nobody anything.
_PREFERENCES = {
    "app.update.disabledForTesting": True,
    "browser.safebrowsing.update.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "dom.disable_beforeunload": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "services.settings.server": "data:,#remote-settings-dummy/v1",
    "toolkit.telemetry.enabled": False,
}


class BidiError(Exception):
    """What Firefox answers to a command that it does not do."""


class Firefox:
    """One browser with one tab."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._loop = asyncio.new_event_loop()
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.events: list[dict[str, Any]] = []
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._wait(self._connect())
        self.command("session.new", capabilities={"alwaysMatch": {"unhandledPromptBehavior": {"default": "ignore"}}})
        self.command("session.subscribe", events=["browsingContext.userPromptOpened", "log.entryAdded"])
        self.tab = self.command("browsingContext.getTree")["contexts"][0]["context"]

    def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Firefox's answer. Raises BidiError."""
        answer: dict[str, Any] = self._wait(self._command(method, parameters))
        return answer

    def open(self, address: str) -> None:
        self.command("browsingContext.navigate", context=self.tab, url=address, wait="complete")

    def evaluate(self, expression: str) -> Any:
        """The value of an expression in the page: a text, a number, true or false, or None."""
        target = {"context": self.tab}
        answer = self.command("script.evaluate", expression=expression, target=target, awaitPromise=True)
        if answer["type"] == "exception":
            raise BidiError(answer["exceptionDetails"]["text"])
        return answer["result"].get("value")

    def until(self, expression: str, seconds: float = PATIENCE) -> None:
        """Wait until it is true in the page, which may be another one by then."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                if self.evaluate(expression):
                    return
            except BidiError:
                pass  # between two pages there is none to ask
            time.sleep(0.1)
        raise AssertionError(f"not within {seconds:.0f} s: {expression}; {self.evaluate('document.body.innerText')}")

    def type_text(self, text: str) -> None:
        presses = [{"type": kind, "value": sign} for sign in text for kind in ("keyDown", "keyUp")]
        self._act({"type": "key", "id": "keyboard", "actions": presses})

    def click(self, x: int, y: int, button: int = 0) -> None:
        """`button` as MouseEvent has it."""
        actions: list[dict[str, Any]] = [{"type": "pointerMove", "x": x, "y": y}]
        actions += [{"type": kind, "button": button} for kind in ("pointerDown", "pointerUp")]
        self._act({"type": "pointer", "id": "mouse", "actions": actions})

    def shot(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        data = self.command("browsingContext.captureScreenshot", context=self.tab)["data"]
        path.write_bytes(base64.b64decode(data))

    def asks_before_it_leaves(self, address: str) -> bool:
        """Try to leave the page, and stay: by BiDi the only tab of a browser is not closed, and nobody asked."""
        leaving = asyncio.run_coroutine_threadsafe(
            self._command("browsingContext.navigate", {"context": self.tab, "url": address, "wait": "none"}),
            self._loop,
        )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not leaving.done():
            if any(event["params"].get("type") == "beforeunload" for event in self.events):
                self.command("browsingContext.handleUserPrompt", context=self.tab, accept=False)
                return True
            time.sleep(0.1)
        return False

    def leave(self) -> None:
        self._wait(self._client.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _act(self, source: dict[str, Any]) -> None:
        self.command("input.performActions", context=self.tab, actions=[source])

    def _wait(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_ANSWER_SECONDS)

    async def _connect(self) -> None:
        self._client = aiohttp.ClientSession()
        self._line = await self._client.ws_connect(f"{self._address}/session", max_msg_size=0)
        self._reading = asyncio.ensure_future(self._read())

    async def _command(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        number = next(self._numbers)
        coming = self._answers[number] = asyncio.get_running_loop().create_future()
        await self._line.send_json({"id": number, "method": method, "params": parameters})
        answer = await coming
        if answer["type"] == "error":
            raise BidiError(f"{method}: {answer['message']}")
        result: dict[str, Any] = answer["result"]
        return result

    async def _read(self) -> None:
        async for message in self._line:
            told = message.json()
            if told["type"] == "event":
                self.events.append(told)
            elif coming := self._answers.pop(told.get("id"), None):
                coming.set_result(told)


@contextmanager
def firefox(folder: Path) -> Iterator[Firefox]:
    """One Firefox with a profile of its own in `folder`."""
    profile = folder / "firefox"
    profile.mkdir(parents=True)
    lines = [
        f"user_pref({name!r}, {str(value).lower() if isinstance(value, bool) else repr(value)});\n"
        for name, value in _PREFERENCES.items()
    ]
    (profile / "user.js").write_text("".join(lines))
    command = [_PROGRAM, "--headless", "--no-remote", "--profile", str(profile), "--remote-debugging-port", "0"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        try:
            address = next((found[1] for line in process.stderr if (found := _LISTENS.search(line))), "")
            assert address, "Firefox ended, or does not speak BiDi"
            threading.Thread(target=process.stderr.read, daemon=True).start()
            browser = Firefox(address)
            try:
                yield browser
            finally:
                browser.leave()
        finally:
            process.terminate()
